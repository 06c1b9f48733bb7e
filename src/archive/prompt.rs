//! The prompt archive: which instruction at which temperature pays (LLMatic's second archive, arXiv
//! 2306.01102).
//!
//! Niches are (instruction, temperature bin); what is kept in each is the prompt of highest curiosity.
//! Curiosity moves by +1.0 when its network is archived, -0.5 when it is not, -1.0 when there is nothing to
//! train. One limit: instructions are judged one by one, not by what they are applied to.

use std::collections::BTreeMap;

use crate::rng::Stream;

/// The bounds of the archive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptSettings {
    /// The coolest temperature.
    pub min: f64,
    /// The hottest temperature.
    pub max: f64,
    /// Where every instruction starts.
    pub start: f64,
    /// How far a temperature moves after each candidate.
    pub step: f64,
    /// Niches per instruction.
    pub bins: usize,
    /// Random prompts of which the most curious one is taken.
    pub tournament: usize,
}

/// What a prompt's candidate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reward {
    /// Its network was archived.
    Archived,
    /// Its network was not archived, or was known already.
    NotArchived,
    /// There was no network to train.
    NotTrainable,
}

impl Reward {
    /// How far it moves curiosity.
    pub fn curiosity(self) -> f64 {
        match self {
            Reward::Archived => 1.0,
            Reward::NotArchived => -0.5,
            Reward::NotTrainable => -1.0,
        }
    }
}

/// The prompt of a niche.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptEntry {
    /// Its temperature.
    pub temperature: f64,
    /// Its curiosity.
    pub curiosity: f64,
    /// How often it was used.
    pub used: u64,
    /// How often its network was archived.
    pub archived: u64,
}

/// A prompt taken from the archive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptChoice {
    /// Which instruction.
    pub instruction: usize,
    /// Which temperature niche it was taken from.
    pub bin: usize,
    /// Its temperature.
    pub temperature: f64,
}

/// The prompt archive.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptArchive {
    settings: PromptSettings,
    entries: BTreeMap<(usize, usize), PromptEntry>,
}

impl PromptArchive {
    /// Every instruction at the starting temperature, with curiosity 0.
    pub fn new(settings: PromptSettings, instructions: usize) -> PromptArchive {
        let mut archive = PromptArchive { settings, entries: BTreeMap::new() };
        let bin = archive.bin(settings.start);
        let entry = PromptEntry { temperature: settings.start, curiosity: 0.0, used: 0, archived: 0 };
        archive.entries = (0..instructions).map(|instruction| ((instruction, bin), entry)).collect();
        archive
    }

    /// The most curious of a few random prompts among the instructions in `allowed`; ties go to the first
    /// drawn. `None` if no instruction is allowed.
    pub fn choose(&self, allowed: impl Fn(usize) -> bool, stream: &mut Stream) -> Option<PromptChoice> {
        let prompts: Vec<_> =
            self.entries.iter().filter(|((instruction, _), _)| allowed(*instruction)).collect();
        let mut best: Option<(&(usize, usize), &PromptEntry)> = None;
        if prompts.is_empty() {
            return None;
        }
        for _ in 0..self.settings.tournament {
            let drawn = prompts[stream.below(prompts.len())];
            if best.is_none_or(|(_, entry)| drawn.1.curiosity > entry.curiosity) {
                best = Some(drawn);
            }
        }
        best.map(|(&(instruction, bin), entry)| PromptChoice {
            instruction,
            bin,
            temperature: entry.temperature,
        })
    }

    /// Learn from the candidate that `choice` led to: its curiosity moves, and its temperature moves up if
    /// the fitness rose above the parent's, else down. A prompt that moves into another niche stays there if
    /// it is more curious. Where temperature means nothing, `improved` is `None`, and it stays.
    pub fn tell(&mut self, choice: PromptChoice, reward: Reward, improved: Option<bool>) {
        let key = (choice.instruction, choice.bin);
        let start = PromptEntry { temperature: choice.temperature, curiosity: 0.0, used: 0, archived: 0 };
        let entry = self.entries.entry(key).or_insert(start);
        entry.curiosity += reward.curiosity();
        entry.used += 1;
        entry.archived += u64::from(reward == Reward::Archived);
        let curiosity = entry.curiosity;
        let Some(improved) = improved else { return };
        let step = if improved { self.settings.step } else { -self.settings.step };
        let temperature = (choice.temperature + step).clamp(self.settings.min, self.settings.max);
        let moved = (choice.instruction, self.bin(temperature));
        let start = PromptEntry { temperature, curiosity: f64::NEG_INFINITY, used: 0, archived: 0 };
        let target = self.entries.entry(moved).or_insert(start);
        if moved == key {
            target.temperature = temperature;
        } else if curiosity > target.curiosity {
            (target.temperature, target.curiosity) = (temperature, curiosity);
        }
    }

    /// The filled niches, (instruction, bin), in order.
    pub fn entries(&self) -> impl Iterator<Item = ((usize, usize), PromptEntry)> {
        self.entries.iter().map(|(&key, &entry)| (key, entry))
    }

    fn bin(&self, temperature: f64) -> usize {
        let width = (self.settings.max - self.settings.min) / self.settings.bins as f64;
        if width <= 0.0 {
            return 0;
        }
        // Steps of 0.05 add up inexactly; a hair more keeps 0.9 in the bin that starts at 0.9.
        (((temperature - self.settings.min) / width + 1e-9) as usize).min(self.settings.bins - 1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rng::RootSeed;

    pub(in super::super) const SETTINGS: PromptSettings =
        PromptSettings { min: 0.1, max: 1.2, start: 0.9, step: 0.05, bins: 11, tournament: 3 };

    #[test]
    fn curiosity_follows_the_reward_and_temperature_the_fitness() {
        let mut archive = PromptArchive::new(SETTINGS, 2);
        let choice = PromptChoice { instruction: 1, bin: 8, temperature: 0.9 };
        archive.tell(choice, Reward::Archived, Some(true));
        let entries: BTreeMap<_, _> = archive.entries().collect();
        let entry = entries[&(1, 8)];
        assert_eq!((entry.curiosity, entry.used, entry.archived), (1.0, 1, 1));
        assert!((entry.temperature - 0.95).abs() < 1e-12);
        archive.tell(choice, Reward::NotArchived, Some(false));
        archive.tell(choice, Reward::NotTrainable, Some(false));
        let entries: BTreeMap<_, _> = archive.entries().collect();
        assert_eq!(entries[&(1, 8)].curiosity, -0.5);
        let cooler = entries[&(1, 7)];
        assert!((cooler.temperature - 0.85).abs() < 1e-12);
        assert_eq!(cooler.curiosity, 0.5, "the first to get there was more curious than the second");
    }

    #[test]
    fn random_sequences_never_lose_a_more_curious_prompt_and_give_one_digest() {
        for seed in 0..20 {
            let run = || {
                let mut stream = RootSeed(seed).stream("sequence", &[]);
                let mut archive = PromptArchive::new(SETTINGS, 4);
                for _ in 0..300 {
                    let choice = archive.choose(|_| true, &mut stream).unwrap();
                    let before: BTreeMap<_, _> = archive.entries().collect();
                    let reward =
                        [Reward::Archived, Reward::NotArchived, Reward::NotTrainable][stream.below(3)];
                    archive.tell(choice, reward, [None, Some(false), Some(true)][stream.below(3)]);
                    for (key, entry) in archive.entries() {
                        // A niche that was not asked keeps what it has, or takes a more curious one.
                        let old = before.get(&key).map_or(f64::NEG_INFINITY, |entry| entry.curiosity);
                        let asked = key == (choice.instruction, choice.bin);
                        assert!(asked || entry.curiosity >= old, "{key:?}: {} after {old}", entry.curiosity);
                    }
                }
                let mut hasher = crate::archive::digest::Hasher::default();
                crate::archive::digest::feed(
                    &mut hasher,
                    &crate::archive::network::tests::archive(),
                    &archive,
                );
                hasher.hex()
            };
            assert_eq!(run(), run());
        }
    }

    #[test]
    fn temperatures_stay_within_the_bounds() {
        let mut archive = PromptArchive::new(SETTINGS, 1);
        let mut stream = RootSeed(0).stream("prompts", &[]);
        for step in 0..500 {
            let choice = archive.choose(|_| true, &mut stream).unwrap();
            assert!((SETTINGS.min..=SETTINGS.max).contains(&choice.temperature));
            archive.tell(choice, Reward::Archived, Some(step % 100 < 50));
        }
        assert!(archive.entries().all(|(_, entry)| (0.1..=1.2).contains(&entry.temperature)));
    }

    #[test]
    fn the_more_curious_prompt_is_taken_more_often_and_only_allowed_ones_are() {
        let mut archive = PromptArchive::new(SETTINGS, 3);
        archive.tell(PromptChoice { instruction: 0, bin: 8, temperature: 0.9 }, Reward::Archived, Some(true));
        let mut stream = RootSeed(0).stream("choose", &[]);
        let mut taken = [0; 3];
        for _ in 0..300 {
            let choice = archive.choose(|instruction| instruction != 2, &mut stream).unwrap();
            taken[choice.instruction] += 1;
        }
        assert_eq!(taken[2], 0);
        assert!(taken[0] > 2 * taken[1], "{taken:?}");
        assert_eq!(archive.choose(|_| false, &mut stream), None);
    }
}
