//! Random mixes of good and bad in random order, with repetitions, on pools of one to four threads and in random
//! chunks: exactly the bad ones are named.

use std::sync::LazyLock;

use proptest::prelude::*;
use rayon::ThreadPool;

use crate::cases::{Case, Judged, all, cancelling, honest};
use crate::oracle::{bad_of, verdict};

/// What mixes draw from. Every case is judged by all implementations in a test below.
struct Stock {
    /// By 600 signers, one each.
    many_signers: Vec<Case>,
    /// By three signers.
    few_signers: Vec<Case>,
    crafted: Vec<Case>,
    bad: Vec<Case>,
    /// Two whose errors add up to nothing.
    pairs: Vec<Vec<Case>>,
}

static STOCK: LazyLock<Stock> = LazyLock::new(|| {
    let of =
        |wanted: bool| all().into_iter().filter(move |(_, valid)| *valid == wanted).map(|(case, _)| case);
    Stock {
        many_signers: honest(600, 600),
        few_signers: honest(600, 3),
        crafted: of(true).collect(),
        bad: of(false).collect(),
        pairs: (0..30).map(|number| cancelling(number % 3, &[1, -1], 1_000 + number as u64)).collect(),
    }
});

/// Pools of one to four threads.
static POOLS: LazyLock<Vec<ThreadPool>> = LazyLock::new(|| {
    let pool =
        |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool starts");
    (1..=4).map(pool).collect()
});

/// How a mix is made: lengths, shares, and how often an entry is repeated.
#[derive(Clone, Copy, Debug)]
struct Shape {
    few_signers: bool,
    /// Of a thousand entries.
    bad: u32,
    /// Of a thousand entries.
    crafted: u32,
    /// Entries are drawn from the first so many of the stock: the fewer, the more repetitions.
    distinct: usize,
}

fn shape() -> impl Strategy<Value = Shape> {
    let bad = prop_oneof![Just(0_u32), Just(1), Just(5), Just(60), Just(500), Just(1_000)];
    let distinct = prop_oneof![Just(1_usize), Just(7), Just(100), Just(600)];
    let crafted = prop_oneof![Just(0_u32), Just(300)];
    (any::<bool>(), bad, crafted, distinct).prop_map(|(few_signers, bad, crafted, distinct)| Shape {
        few_signers,
        bad,
        crafted,
        distinct,
    })
}

fn entry(shape: Shape, draw: u32) -> Judged {
    let (kind, index) = (draw % 1_000, (draw / 1_000) as usize % shape.distinct);
    let (from, valid) = if kind < shape.bad {
        (&STOCK.bad, false)
    } else if kind < shape.bad + shape.crafted {
        (&STOCK.crafted, true)
    } else if shape.few_signers {
        (&STOCK.few_signers, true)
    } else {
        (&STOCK.many_signers, true)
    };
    (from[index % from.len()].clone(), valid)
}

/// A shape, its entries, and pairs put in at random places.
fn mix(length_max: usize) -> impl Strategy<Value = Vec<Judged>> {
    let length = prop_oneof![0..10_usize, 0..100_usize, 0..length_max];
    (shape(), length)
        .prop_flat_map(|(shape, length)| {
            let pairs = prop::collection::vec((0..30_usize, any::<(u32, u32)>()), 0..3);
            (Just(shape), prop::collection::vec(any::<u32>(), length), pairs)
        })
        .prop_map(|(shape, draws, pairs)| {
            let mut mix: Vec<Judged> = draws.into_iter().map(|draw| entry(shape, draw)).collect();
            for (pair, (one, other)) in pairs {
                for (case, place) in STOCK.pairs[pair].iter().zip([one, other]) {
                    mix.insert(place as usize % (mix.len() + 1), (case.clone(), false));
                }
            }
            mix
        })
}

fn split(mix: Vec<Judged>) -> (Vec<Case>, Vec<usize>) {
    let bad = (0..mix.len()).filter(|&i| !mix[i].1).collect();
    (mix.into_iter().map(|(case, _)| case).collect(), bad)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

#[test]
fn everybody_agrees_on_what_the_mixes_draw_from() {
    let good = [&STOCK.many_signers[..50], &STOCK.few_signers[..50], &STOCK.crafted];
    good.into_iter().flatten().for_each(|case| assert!(verdict(case), "{case:?}"));
    STOCK.bad.iter().chain(STOCK.pairs.iter().flatten()).for_each(|case| assert!(!verdict(case), "{case:?}"));
    assert!(STOCK.crafted.len() > 250 && STOCK.bad.len() > 250);
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn exactly_the_bad_ones_of_a_mix_are_named_on_any_number_of_threads(
        mix in mix(2_200),
        threads in 1..=4_usize,
    ) {
        let (batch, bad) = split(mix);
        prop_assert_eq!(POOLS[threads - 1].install(|| bad_of(&batch)), bad);
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn any_order_and_any_chunks_of_a_mix_name_the_same_ones(
        (mix, shuffled) in mix(700).prop_flat_map(|mix| {
            let places: Vec<usize> = (0..mix.len()).collect();
            (Just(mix), Just(places).prop_shuffle())
        }),
        size in prop_oneof![1..20_usize, 1..700_usize],
    ) {
        let (batch, bad) = split(mix);
        prop_assert_eq!(&bad_of(&batch), &bad);
        let chunks = batch.chunks(size).enumerate();
        let in_chunks: Vec<usize> =
            chunks.flat_map(|(n, chunk)| bad_of(chunk).into_iter().map(move |i| n * size + i)).collect();
        prop_assert_eq!(&in_chunks, &bad);

        let reordered: Vec<Case> = shuffled.iter().map(|&place| batch[place].clone()).collect();
        let mut found: Vec<usize> = bad_of(&reordered).into_iter().map(|index| shuffled[index]).collect();
        found.sort_unstable();
        prop_assert_eq!(found, bad);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn random_bytes_get_one_verdict(key: [u8; 32], message: [u8; 32], r: [u8; 32], s: [u8; 32]) {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        let case = Case { key, message, signature };
        crate::oracle::decodes(&key);
        prop_assert!(!verdict(&case));
        prop_assert_eq!(bad_of(&[case]), [0]);
    }
}
