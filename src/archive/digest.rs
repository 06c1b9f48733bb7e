//! The canonical digest of the archives: SHA-256 over their contents, so that two runs can be compared by one
//! line.
//!
//! Covered: niche, architecture, source, fitness and descriptor of each elite, and every prompt niche; not
//! which slot an elite came from. One limit: floats count by their bits, so a digest speaks of one kind of
//! machine.

use sha2::{Digest, Sha256};

use super::{Archive, PromptArchive};

/// Feeds values to SHA-256 so that no two sequences of fields give the same bytes.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A text, with its length.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    /// A whole number.
    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// A float, by its bits; a zero without its sign, which a database does not keep.
    pub fn float(&mut self, float: f64) {
        self.number((float + 0.0).to_bits());
    }

    /// Something that may be absent.
    pub fn option<T>(&mut self, value: Option<T>, feed: impl FnOnce(&mut Hasher, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            feed(self, value);
        }
    }

    /// The digest in lower-case hex.
    pub fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

/// SHA-256 of bytes, in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Feed the contents of both archives.
pub fn feed(hasher: &mut Hasher, networks: &Archive, prompts: &PromptArchive) {
    hasher.text("llmatic-archive-1");
    hasher.number(networks.elites().len() as u64);
    for (niche, elite) in networks.elites() {
        hasher.number(niche as u64);
        hasher.text(&elite.architecture);
        hasher.text(&sha256_hex(elite.source.as_bytes()));
        hasher.float(elite.fitness);
        elite.descriptor.iter().for_each(|&value| hasher.float(value));
    }
    hasher.number(prompts.entries().count() as u64);
    for ((instruction, bin), entry) in prompts.entries() {
        hasher.number(instruction as u64);
        hasher.number(bin as u64);
        hasher.float(entry.temperature);
        hasher.float(entry.curiosity);
        hasher.number(entry.used);
        hasher.number(entry.archived);
    }
}

/// The digest of both archives.
pub fn digest(networks: &Archive, prompts: &PromptArchive) -> String {
    let mut hasher = Hasher::default();
    feed(&mut hasher, networks, prompts);
    hasher.hex()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{network, prompt};
    use crate::rng::RootSeed;

    #[test]
    fn the_digest_does_not_depend_on_the_order_in_which_equal_contents_were_added() {
        let mut stream = RootSeed(5).stream("order", &[]);
        // Distinct fitness: which of two equals stays does depend on the order.
        let elites: Vec<_> = (0..100u32)
            .map(|slot| {
                let elite = network::tests::elite(&mut stream, u64::from(slot));
                network::Elite { fitness: f64::from(slot) / 100.0, ..elite }
            })
            .collect();
        let prompts = prompt::PromptArchive::new(prompt::tests::SETTINGS, 3);
        let filled = |elites: &[network::Elite]| {
            let mut archive = network::tests::archive();
            for elite in elites {
                archive.add(elite.clone()).unwrap();
            }
            digest(&archive, &prompts)
        };
        let reference = filled(&elites);
        for shuffle in 0..5 {
            let mut shuffled = elites.clone();
            RootSeed(shuffle).stream("shuffle", &[]).shuffle(&mut shuffled);
            assert_eq!(filled(&shuffled), reference);
        }
        assert_ne!(filled(&elites[1..99]), reference);
    }

    #[test]
    fn the_digest_sees_every_field() {
        let mut stream = RootSeed(6).stream("field", &[]);
        let base = network::tests::elite(&mut stream, 0);
        let prompts = prompt::PromptArchive::new(prompt::tests::SETTINGS, 3);
        let of = |elite: network::Elite, prompts: &prompt::PromptArchive| {
            let mut archive = network::tests::archive();
            archive.add(elite).unwrap();
            digest(&archive, prompts)
        };
        let reference = of(base.clone(), &prompts);
        let mut bent = base.descriptor;
        bent[0] = f64::from_bits(bent[0].to_bits() + 1);
        let others = [
            network::Elite { architecture: "other".into(), ..base.clone() },
            network::Elite { source: "other".into(), ..base.clone() },
            network::Elite { fitness: base.fitness + 1e-16 + 0.1, ..base.clone() },
            network::Elite { descriptor: bent, ..base.clone() },
        ];
        for other in others {
            assert_ne!(of(other, &prompts), reference);
        }
        assert_ne!(of(base, &prompt::PromptArchive::new(prompt::tests::SETTINGS, 2)), reference);
    }
}
