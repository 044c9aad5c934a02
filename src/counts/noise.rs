//! Noise for differential privacy: the discrete Laplace distribution (two-sided geometric), drawn exactly, with whole numbers alone.
//!
//! As Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential Privacy" (2020), algorithms 1 and 2. Floating-point
//! numbers would give away in their last bits what the noise is to hide: Mironov, "On Significance of the Least Significant Bits
//! for Differential Privacy" (2012).

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Where randomness comes from.
pub trait Random {
    /// 64 bits, each as likely set as not.
    ///
    /// # Errors
    /// When there are none.
    fn bits(&mut self) -> io::Result<u64>;
}

/// That of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfTheSystem;

impl Random for OfTheSystem {
    fn bits(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// A whole number below `end`, each as likely. 0 where `end` is 0.
fn below(random: &mut dyn Random, end: u64) -> io::Result<u64> {
    if end == 0 {
        return Ok(0);
    }
    // Of the 2^64 numbers, as many as `end` divides.
    let fair = u64::MAX - u64::MAX % end;
    loop {
        let bits = random.bits()?;
        if bits < fair {
            return Ok(bits % end);
        }
    }
}

/// True with a probability of exp(-part/whole), for `part` up to `whole`.
fn decays(random: &mut dyn Random, part: u64, whole: u64) -> io::Result<bool> {
    let mut step: u64 = 1;
    while below(random, whole.saturating_mul(step))? < part {
        step += 1;
    }
    Ok(step % 2 == 1)
}

/// A number with a probability that falls by exp(-1/scale) with each step away from 0. `scale` is 1 or more.
///
/// # Errors
/// When there is no randomness.
pub fn discrete_laplace(random: &mut dyn Random, scale: u64) -> io::Result<i64> {
    let scale = scale.max(1);
    loop {
        let rest = below(random, scale)?;
        if !decays(random, rest, scale)? {
            continue;
        }
        let mut whole: u64 = 0;
        while decays(random, 1, 1)? {
            whole += 1;
        }
        let size = i64::try_from(whole.saturating_mul(scale).saturating_add(rest)).unwrap_or(i64::MAX);
        let is_negative = random.bits()? & 1 == 1;
        // 0 has one sign.
        if !(is_negative && size == 0) {
            return Ok(if is_negative { -size } else { size });
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The same numbers each time (Steele, Lea, Flood: SplitMix).
    pub(crate) struct Seeded(pub u64);

    impl Random for Seeded {
        fn bits(&mut self) -> io::Result<u64> {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Ok(z ^ (z >> 31))
        }
    }

    #[test]
    #[allow(clippy::cast_precision_loss)] // Compared within some percent.
    fn mean_spread_and_each_probability_are_those_of_the_distribution() {
        const DRAWS: u32 = 40_000;
        for scale in [1, 8, 1_600] {
            let mut random = Seeded(scale);
            let drawn: Vec<i64> = (0..DRAWS).map(|_| discrete_laplace(&mut random, scale).unwrap()).collect();
            let n = f64::from(DRAWS);
            let p = (-1.0 / scale as f64).exp();
            let variance = 2.0 * p / (1.0 - p).powi(2);
            let mean = drawn.iter().sum::<i64>() as f64 / n;
            assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{scale}: the mean is {mean}");
            let found = drawn.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / n;
            assert!((found / variance - 1.0).abs() < 0.06, "{scale}: the variance is {found}, not {variance}");
            for number in -2..=2_i64 {
                let expected = (1.0 - p) / (1.0 + p) * p.powi(i32::try_from(number.abs()).unwrap());
                let share = drawn.iter().filter(|x| **x == number).count() as f64 / n;
                let error = 5.0 * (expected / n).sqrt();
                assert!((share - expected).abs() < error, "{scale}: {number} is drawn {share}, not {expected}");
            }
        }
    }

    #[test]
    fn no_number_below_the_end_is_likelier_than_another() {
        let mut random = Seeded(7);
        let mut drawn = [0_u32; 6];
        for _ in 0..60_000 {
            drawn[usize::try_from(below(&mut random, 6).unwrap()).unwrap()] += 1;
        }
        assert!(drawn.iter().all(|times| (9_500..10_500).contains(times)), "{drawn:?}");
    }

    #[test]
    fn the_system_gives_another_number_each_time() {
        assert_ne!(OfTheSystem.bits().unwrap(), OfTheSystem.bits().unwrap());
    }
}
