//! The measurement with scripted answers: what counts as valid, as novel, as a copy. Needs no model.

use super::{PromptBench, PromptBenchError, json, markdown, run};
use crate::config::{Device, PROMPTS, PromptBook, SearchConfig, resolve};
use crate::search::{QuestionStyle, ScriptedGenerator};

fn config() -> (SearchConfig, PromptBook) {
    let config = resolve("", "", &[], Device::Cpu, 1).unwrap();
    (config, PromptBook::parse(PROMPTS, "prompts").unwrap())
}

fn measure(completions: &[&str], generations: usize) -> super::Setting {
    let (config, book) = config();
    let bench = PromptBench {
        config: &config,
        book: &book,
        styles: &[QuestionStyle::Completion],
        temperatures: &[0.5],
        generations,
        seed: 1,
    };
    let answers: Vec<String> = completions.iter().map(|text| (*text).to_owned()).collect();
    let mut generator = ScriptedGenerator::from_list("scripted", answers);
    let mut time = 0.0;
    let mut clock = || {
        time += 1.5;
        time
    };
    let mut told = 0;
    let settings = run(&bench, &mut generator, &mut clock, &mut |_| told += 1).unwrap();
    assert_eq!((settings.len(), told), (1, 1));
    settings.into_iter().next().unwrap()
}

#[test]
fn the_same_child_twice_is_novel_once_per_shape_and_repairs_are_told_apart() {
    let good = "    def __init__(self):\n        super().__init__()\n        self.f = nn.LazyLinear(10)\n\n    \
                def forward(self, x):\n        return self.f(x.flatten(1))\n";
    let setting = measure(&[good], 6);
    assert_eq!((setting.asked, setting.repaired.valid, setting.repaired.novel), (6, 6, 2), "{setting:?}");
    // The head has the wrong width, which a repair mends.
    let wrong = good.replace("LazyLinear(10)", "LazyLinear(7)");
    let setting = measure(&[&wrong], 2);
    assert_eq!((setting.plain.valid, setting.repaired.valid), (0, 2), "{setting:?}");
    assert_eq!(setting.plain.refused.values().sum::<usize>(), 2);
    let setting = measure(&["    def forward(self:\n"], 2);
    assert_eq!(setting.repaired.refused.get("syntax_error"), Some(&2), "{setting:?}");
}

#[test]
fn tables_and_json_say_what_a_network_costs() {
    let good = "    def forward(self, x):\n        return x.flatten(1)[:, :10]\n";
    let settings = [measure(&[good], 2)];
    assert_eq!(settings[0].seconds, 1.5);
    let table = markdown(&settings);
    assert!(table.lines().count() == 3 && table.contains("| completion | 0.5 | 2 |"), "{table}");
    let value = json("m", 1, false, &settings);
    assert_eq!(value["settings"][0]["setting"]["asked"], 2);
    assert_eq!(value["settings"][0]["seconds_per_network"], 0.75);
}

#[test]
fn a_style_without_a_template_is_refused_by_name() {
    let (config, book) = config();
    let bench = PromptBench {
        config: &config,
        book: &book,
        styles: &[QuestionStyle::Chat],
        temperatures: &[0.5],
        generations: 2,
        seed: 1,
    };
    let mut generator = ScriptedGenerator::from_list("scripted", vec![String::new()]);
    let error = run(&bench, &mut generator, &mut || 0.0, &mut |_| ()).unwrap_err();
    assert!(matches!(error, PromptBenchError::Style { .. }) && error.to_string().contains("chat"), "{error}");
}
