//! BLAKE3 with one derive-key context per use.
//!
//! Two uses never share a context, so bytes made for one cannot be taken for another, whatever they are. The
//! key that a context hashes to is computed once per process; a hash then costs what a keyed hash costs: 0.11 µs for the
//! 117 bytes of a transaction. The library's loop over lanes would take whole blocks of 64 bytes only, so digests of a
//! batch's rows side by side would want a padded layout, to spare less than a hundredth of a signature check.

use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};

/// One domain per use: every derive-key context of the protocol stands in this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// What a transaction's sender signs.
    Transaction,
    /// What a batch's author signs.
    BatchHeader,
    /// The name of a batch: its header without the signature.
    BatchId,
    /// What a vertex's author signs.
    Vertex,
    /// The name of a vertex: its bytes without the signature.
    VertexId,
    /// The hash of a block, by which the next one links to it.
    Block,
    /// The outcome codes of a block's rows.
    Outcomes,
    /// The chain id: the canonical bytes of the genesis.
    Genesis,
    /// What a peer signs to bind its key to a connection.
    PeerHello,
    /// The secrets of a connection: the first from the exchange of keys, each further one from the last.
    PeerSecret,
    /// The key that such a secret stands for.
    PeerKey,
    /// What a peer signs of the address where it is reached.
    PeerAddress,
    /// The draw of a batch's verifiers.
    Draw,
    /// The seed of an epoch's draws.
    EpochSeed,
    /// What a validator signs of a checkpoint block.
    Checkpoint,
    /// The seed of an account's key: the secret of a keyring and the account's number.
    Keyring,
}

impl Domain {
    /// Every domain, in the order of declaration.
    pub const ALL: [Domain; 16] = [
        Domain::Transaction,
        Domain::BatchHeader,
        Domain::BatchId,
        Domain::Vertex,
        Domain::VertexId,
        Domain::Block,
        Domain::Outcomes,
        Domain::Genesis,
        Domain::PeerHello,
        Domain::PeerSecret,
        Domain::PeerKey,
        Domain::PeerAddress,
        Domain::Draw,
        Domain::EpochSeed,
        Domain::Checkpoint,
        Domain::Keyring,
    ];

    /// The derive-key context, `throng 2026 <kind> v1`. A change of what is hashed takes a new version here.
    pub const fn context(self) -> &'static str {
        match self {
            Domain::Transaction => "throng 2026 transaction v1",
            Domain::BatchHeader => "throng 2026 batch header v1",
            Domain::BatchId => "throng 2026 batch id v1",
            Domain::Vertex => "throng 2026 vertex v1",
            Domain::VertexId => "throng 2026 vertex id v1",
            Domain::Block => "throng 2026 block v1",
            Domain::Outcomes => "throng 2026 outcomes v1",
            Domain::Genesis => "throng 2026 genesis v1",
            Domain::PeerHello => "throng 2026 peer hello v1",
            Domain::PeerSecret => "throng 2026 peer secret v1",
            Domain::PeerKey => "throng 2026 peer key v1",
            Domain::PeerAddress => "throng 2026 peer address v1",
            Domain::Draw => "throng 2026 draw v1",
            Domain::EpochSeed => "throng 2026 epoch seed v1",
            Domain::Checkpoint => "throng 2026 checkpoint v1",
            Domain::Keyring => "throng 2026 keyring v1",
        }
    }
}

// A new kind at the end of the enum must also stand in the list, which the golden vectors go through.
const _: () = assert!(Domain::Keyring as usize + 1 == Domain::ALL.len());

/// The context keys, at the index of their domain.
static CONTEXT_KEYS: LazyLock<[ContextKey; Domain::ALL.len()]> =
    LazyLock::new(|| Domain::ALL.map(|domain| hash_derive_key_context(domain.context())));

/// The hash of the concatenated `parts` under `domain`. The caller's layout must be unambiguous by itself:
/// where one part ends is not hashed.
pub fn hash(domain: Domain, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = DomainHasher::new(domain);
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// Plain BLAKE3, without a context: the roots of columns and of the account table, as `b3sum` prints them. The
/// signed header that names such a root carries the domain.
pub fn plain(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Hashes under one domain, piece by piece, as [`hash`] does at once.
#[derive(Clone, Debug)]
pub struct DomainHasher {
    inner: blake3::Hasher,
}

impl DomainHasher {
    /// A hasher that has seen nothing yet.
    pub fn new(domain: Domain) -> Self {
        Self { inner: blake3::Hasher::new_from_context_key(&CONTEXT_KEYS[domain as usize]) }
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.inner.update(bytes);
        self
    }

    /// The hash of everything appended so far.
    pub fn finish(&self) -> [u8; 32] {
        *self.inner.finalize().as_bytes()
    }
}
