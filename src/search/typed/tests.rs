//! Typed edits of five parents: valid after repairs, novel, deterministic, readable.

use super::*;
use crate::lower::{self, RepairSet, lower};
use crate::rng::RootSeed;

pub(in crate::search) const PARENTS: [&str; 5] = [
    include_str!("../../../tests/fixtures/parents/sequential_blocks.py"),
    include_str!("../../../tests/fixtures/parents/lenet.py"),
    include_str!("../../../tests/fixtures/parents/minimal.py"),
    include_str!("../../../tests/fixtures/parents/batch_norms.py"),
    include_str!("../../../tests/fixtures/parents/residual_blocks.py"),
];

pub(in crate::search) fn read(source: &str) -> Result<lower::Network, lower::Refusal> {
    lower(&lower::Request {
        entry: Some("Net()"),
        repairs: RepairSet::all(),
        ..lower::Request::new(source, &[3, 32, 32], Some(10))
    })
}

#[test]
fn edits_of_five_parents_are_valid_and_novel_after_repairs() {
    let parents: Vec<lower::Network> = PARENTS.iter().map(|source| read(source).unwrap()).collect();
    let (mut made, mut novel) = (0, 0);
    let mut faults = String::new();
    for (index, parent) in parents.iter().enumerate() {
        let mut stream = RootSeed(0).stream("typed", &[index as u64]);
        let mut left = 24;
        while left > 0 {
            let (_, kind) = EDITS[stream.below(EDITS.len())];
            let Some(edited) = edit(&parent.source, &parent.graph, kind, &mut stream) else { continue };
            left -= 1;
            made += 1;
            match read(&edited.source) {
                Ok(child) if child.graph.architecture_id() != parent.graph.architecture_id() => novel += 1,
                Ok(_) => faults.push_str(&format!("copy: {}\n", edited.what)),
                Err(refusal) => faults.push_str(&format!("{}: {}\n", edited.what, refusal.message)),
            }
        }
    }
    assert_eq!(made, 120);
    assert!(novel * 100 >= 80 * made, "{novel} of {made}\n{faults}");
}

#[test]
fn an_edit_depends_on_its_stream_alone() {
    let parent = read(PARENTS[3]).unwrap();
    for (_, kind) in EDITS {
        let draw = |seed: u64| {
            edit(&parent.source, &parent.graph, kind, &mut RootSeed(seed).stream("typed", &[1, 2, 3]))
        };
        assert_eq!(draw(5), draw(5));
    }
}

#[test]
fn an_inserted_layer_has_the_width_and_rank_of_its_gap() {
    let parent = read(PARENTS[3]).unwrap();
    for seed in 0..20 {
        let mut stream = RootSeed(seed).stream("typed", &[]);
        let kind = EditKind::InsertNormalisation;
        let edited = edit(&parent.source, &parent.graph, kind, &mut stream).unwrap();
        let child = read(&edited.source).unwrap();
        assert!(child.repairs.is_empty(), "{}: {:?}\n{}", edited.what, child.repairs, edited.source);
    }
}

#[test]
fn a_new_line_is_placed_after_the_layer_that_feeds_it_and_called_after_it() {
    let source = "import torch\nimport torch.nn as nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        \
                  super().__init__()\n        self.flat = nn.Flatten()\n        self.fc1 = nn.Linear(3072, 10)\n\n    \
                  def forward(self, x):\n        x = self.flat(x)  # (n, c * h * w)\n        \
                  return self.fc1(x)\n";
    let parent = read(source).unwrap();
    let mut stream = RootSeed(0).stream("typed", &[]);
    let edited = edit(source, &parent.graph, EditKind::InsertResidual, &mut stream).unwrap();
    let line = "        self.flat = nn.Flatten()\n        \
                self.res1 = nn.Sequential(nn.Linear(3072, 3072), nn.ReLU())\n";
    assert!(edited.source.contains(line), "{}", edited.source);
    let call = "# (n, c * h * w)\n        x = x + self.res1(x)\n";
    assert!(edited.source.contains(call), "{}", edited.source);
}

#[test]
fn a_deleted_layer_leaves_neither_its_call_nor_its_line() {
    let parent = read(PARENTS[1]).unwrap();
    for seed in 0..20 {
        let mut stream = RootSeed(seed).stream("typed", &[]);
        let edited = edit(&parent.source, &parent.graph, EditKind::Delete, &mut stream).unwrap();
        let layers = |source: &str| source.matches("nn.Conv2d").count() + source.matches("nn.Linear").count();
        let calls = |source: &str| source.matches("self.conv").count() + source.matches("self.fc").count();
        assert_eq!(2 * layers(&edited.source), calls(&edited.source), "{}", edited.source);
    }
}

#[test]
fn every_kind_of_edit_has_words_of_its_own() {
    for (words, kind) in EDITS {
        assert_eq!((EditKind::from_words(words), kind.words()), (Some(kind), words));
    }
    assert_eq!(EditKind::from_words("insert magic"), None);
}
