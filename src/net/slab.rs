//! Connections by token. A token names a place and a generation, so that an event or an answer for a connection that
//! is gone never reaches the next one in its place.

use mio::Token;

const _: () = assert!(usize::BITS >= 64, "a token holds a generation and a place of 32 bits each");

/// A place and its generation in one token. Places near the top are free for the driver's own tokens.
fn token(place: usize, generation: u32) -> Token {
    Token((generation as usize) << 32 | place)
}

/// Values by token.
pub struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Puts in what `make` makes of its token.
    pub fn insert<E>(&mut self, make: impl FnOnce(Token) -> Result<T, E>) -> Result<Token, E> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() - 1
        });
        let token = token(place, self.places[place].0);
        match make(token) {
            Ok(value) => {
                self.places[place].1 = Some(value);
                Ok(token)
            }
            Err(error) => {
                self.free.push(place);
                Err(error)
            }
        }
    }

    /// The value of a token, unless it is gone.
    pub fn get(&self, token: Token) -> Option<&T> {
        let (generation, value) = self.places.get(token.0 & 0xFFFF_FFFF)?;
        value.as_ref().filter(|_| *generation as usize == token.0 >> 32)
    }

    /// As [`Slab::get`].
    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let (generation, value) = self.places.get_mut(token.0 & 0xFFFF_FFFF)?;
        value.as_mut().filter(|_| *generation as usize == token.0 >> 32)
    }

    /// Takes a value out; its token is never given again (but for 2^32 generations of its place).
    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        let place = token.0 & 0xFFFF_FFFF;
        let (generation, value) = &mut self.places[place];
        *generation = generation.wrapping_add(1);
        self.free.push(place);
        value.take()
    }

    /// Takes a value out for a moment: until it is [given back](Slab::give_back) its place stays taken, and its token finds
    /// nothing.
    pub fn lend(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        self.places[token.0 & 0xFFFF_FFFF].1.take()
    }

    /// Puts back what was lent.
    pub fn give_back(&mut self, token: Token, value: T) {
        let (generation, place) = &mut self.places[token.0 & 0xFFFF_FFFF];
        assert!(*generation as usize == token.0 >> 32 && place.is_none(), "it was lent");
        *place = Some(value);
    }

    /// All tokens in use.
    pub fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let places = self.places.iter().enumerate();
        places
            .filter(|(_, (_, value))| value.is_some())
            .map(|(place, (generation, _))| token(place, *generation))
    }
}
