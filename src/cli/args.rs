//! The command line: every subcommand with its flags, as clap reads them.
//!
//! Input: the words of the command line. Output: [`Args`]. One limit: values are checked by the config, which
//! names the flag.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
    0  done
    1  something given was refused: a run file, a value, a model, data, a source
    2  wrong use of the command line
    3  the program or the machine failed (a full disk, a read-only folder, a defect)
  130  stopped by Ctrl-C; `llmatic-offline resume DIR` goes on

Data are printed on standard output, everything else on standard error.
Models and data sets lie in $LLMATIC_HOME (default: llmatic-offline in the user's data folder).";

/// Searches for neural networks with a code LLM in process, offline and reproducibly.
#[derive(Debug, Parser)]
#[command(version, about, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Search for networks, from a run file and flags over it
    Search(SearchArgs),
    /// Go on with a run that was stopped
    Resume(ResumeArgs),
    /// Print the digest of a run, rebuilt from its records and checked against them
    Digest(RunArgs),
    /// Write DIR/report.html
    Report(RunArgs),
    /// Read a PyTorch source without executing it: verdict, layers, cost, descriptor
    Inspect(InspectArgs),
    /// Complete a prompt with a model
    Generate(GenerateArgs),
    /// Compute a network's outputs for given inputs
    Predict(PredictArgs),
    /// Say what is installed, what is missing, and what it costs in memory
    Doctor,
    /// Models
    Models(ModelsArgs),
    /// Measure searches
    Bench(BenchArgs),
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct SearchArgs {
    /// Run file (TOML); default: the built-in quickstart
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A model's name, an alias, a GGUF file, or scripted:FILE.jsonl (recorded completions stand in for the
    /// LLM)
    #[arg(long, value_name = "M")]
    pub(crate) model: Option<String>,
    /// fashion-mnist, mnist, cifar10, or surrogate (nothing is trained: a dry run without data)
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// Root seed of every random number
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Generations after the seed network's
    #[arg(long, value_name = "N")]
    pub(crate) generations: Option<u64>,
    /// Candidates per generation
    #[arg(long, value_name = "N")]
    pub(crate) children: Option<u64>,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "D")]
    pub(crate) device: Option<String>,
    /// Memory that the LLM may take
    #[arg(long, value_name = "MB")]
    pub(crate) memory_mb: Option<u64>,
    /// Threads; 0: as many as the machine has. Results do not depend on it
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u64>,
    /// Folder of the run; default: the first free runs/NNN
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// One JSON event per line on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// One JSON event per line on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// Python source
    #[arg(value_name = "FILE.py")]
    pub(crate) file: PathBuf,
    /// Expression that makes the network, such as "ResNet18()"; default: the last nn.Module class, no
    /// arguments
    #[arg(long, value_name = "EXPR")]
    pub(crate) entry: Option<String>,
    /// Sizes of one input; default: what the source of a search says in its first lines, else 3,32,32
    #[arg(long, value_name = "C,H,W", value_delimiter = ',')]
    pub(crate) input: Option<Vec<usize>>,
    /// Number of classes; default: as for --input, else 10
    #[arg(long, value_name = "N")]
    pub(crate) classes: Option<usize>,
    /// Take the source as it is
    #[arg(long)]
    pub(crate) no_repair: bool,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// A model's name, an alias, or a GGUF file
    #[arg(long, value_name = "M")]
    pub(crate) model: String,
    /// File with the prompt
    #[arg(long, value_name = "F")]
    pub(crate) prompt_file: PathBuf,
    /// Longest completion
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_tokens: usize,
    /// 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Seed of the sampling
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Stop when the class that the prompt begins is complete
    #[arg(long)]
    pub(crate) stop_at_class: bool,
    /// auto, cpu or cuda:N
    #[arg(long, value_name = "D", default_value = "auto")]
    pub(crate) device: String,
    /// Threads; 0: as many as the machine has
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// Python source of the network
    #[arg(value_name = "MODEL.py")]
    pub(crate) file: PathBuf,
    /// Expression that makes the network; default: the last nn.Module class, no arguments
    #[arg(long, value_name = "EXPR")]
    pub(crate) entry: Option<String>,
    /// Weights (safetensors under state_dict names)
    #[arg(long, value_name = "W.safetensors")]
    pub(crate) weights: PathBuf,
    /// Inputs: a safetensors file with one float32 tensor (N, C, H, W), taken as it is
    #[arg(long, value_name = "X.safetensors")]
    pub(crate) input: PathBuf,
    /// Where the tensor "logits" (N, classes) is written
    #[arg(long, value_name = "Y.safetensors")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List the known models, whether they are installed, and the aliases
    List,
    /// Say what is known about one model
    Show {
        /// Name, alias or path of a .gguf file
        name: String,
    },
    /// Read an installed model's file again and compare its sha256
    Verify {
        /// Name, alias or path of a .gguf file
        name: String,
    },
    /// Fetch a model from the Hugging Face hub into $LLMATIC_HOME: the one command that uses the network
    ///
    /// HF_ENDPOINT names another hub, HF_HOME the cache; HF_HUB_OFFLINE=1 refuses, as --offline does.
    Pull {
        /// Name of a known model
        name: String,
        /// Refuse to use the network
        #[arg(long)]
        offline: bool,
    },
    /// Bring a model into $LLMATIC_HOME from a file, a folder, a Hugging Face cache or an archive
    Import {
        /// The .gguf file; a folder, Hugging Face cache or archive (.tar, .tar.gz, .zip) that holds it; or the
        /// directory of a model to convert
        source: PathBuf,
        /// Name of the model; one without a manifest gets one
        #[arg(long)]
        name: String,
    },
    /// Make one quantized GGUF file from a Hugging Face directory
    Convert {
        /// The directory: config.json, weights (safetensors or pytorch_model.bin), tokenizer
        folder: PathBuf,
        /// f32, f16, q8_0, q6_k, q5_k_m, q5_1, q5_0, q4_k_m, q4_1 or q4_0
        #[arg(long, default_value = "q4_k_m", value_name = "TYPE")]
        quantize: String,
        /// The file to write
        #[arg(short, long, value_name = "FILE.gguf")]
        output: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Search the NAS-Bench-201 table: accuracy reached against networks evaluated
    Nasbench201(NasBench201Args),
    /// Ask a model for children of fixed parents, by prompt style and temperature
    Prompts(BenchPromptsArgs),
    /// Time the LLM engine on this machine's processor: prefill, one row, a generation of children
    Llm(BenchLlmArgs),
    /// Compare operators on real training: one run per arm and seed, at equal evaluations and equal wall clock
    Operators(OperatorsArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchPromptsArgs {
    /// A model's name, an alias, or a GGUF file
    #[arg(long, value_name = "M", default_value = "codegen")]
    pub(crate) model: String,
    /// completion, chat, infill, or several with commas between
    #[arg(long, value_name = "S", value_delimiter = ',', default_value = "completion,chat,infill")]
    pub(crate) styles: Vec<String>,
    /// Temperatures with commas between
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "0.4,0.8,1.1")]
    pub(crate) temperatures: Vec<f64>,
    /// Children per style and temperature
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) generations: usize,
    /// Root seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Memory that the LLM may take; default: the quickstart's model.memory_mb
    #[arg(long, value_name = "MB")]
    pub(crate) memory_mb: Option<u32>,
    /// Sample only tokens that keep a class body within the grammar
    #[arg(long)]
    pub(crate) grammar: bool,
    /// Sample only tokens that a network's source is likely to need, and those of the prompt
    #[arg(long)]
    pub(crate) working_vocabulary: bool,
    /// Threads; 0: as many as the machine has
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BenchLlmArgs {
    /// Name, alias or path of a .gguf file
    #[arg(long, default_value = "codegen", value_name = "M")]
    pub(crate) model: String,
    /// Instead of a model: random weights of this shape (codegen-350m, codegen-2b, codegen-6b)
    #[arg(long, value_name = "S", conflicts_with = "model")]
    pub(crate) shape: Option<String>,
    /// Type of the random weights: q4_0, q8_0 and others of `models convert`
    #[arg(long, value_name = "TYPE", default_value = "q4_0", requires = "shape")]
    pub(crate) quantize: String,
    /// Numbers of threads, with commas between
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,2")]
    pub(crate) threads: Vec<usize>,
    /// Length of the prompt, in tokens
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) prompt_tokens: usize,
    /// Most tokens that a row writes
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) new_tokens: usize,
    /// Children of a generation
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) rows: usize,
    /// Compute the logits of those tokens only that a network's source is likely to need
    #[arg(long)]
    pub(crate) working_vocabulary: bool,
    /// How often everything is measured; medians are printed
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) repeats: usize,
    /// Print JSON, with the prompt, instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OperatorsArgs {
    /// Run file (TOML) that all arms share; default: the built-in quickstart
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// rewrite, crossover, paper, infill, rank, typed, bandit, or a run file NAME.toml whose keys lie over the shared
    /// ones; `:opposite`, `:none` or `:random` behind one runs that control of the LLM. seed, search.generations,
    /// search.evaluations and final.steps are the benchmark's own
    #[arg(long, value_name = "A", value_delimiter = ',', default_value = "typed,rewrite,infill,rank,bandit")]
    pub(crate) arms: Vec<String>,
    /// Runs per arm
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub(crate) seeds: u64,
    /// Root seed of the first run; the others follow
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first_seed: u64,
    /// Networks that a run trains
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) evaluations: usize,
    /// Go on until writing and training took so many seconds as well, so that arms compare in equal time; 0: compare
    /// in the time of the quickest run
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seconds: u64,
    /// A model's name, an alias, or a GGUF file
    #[arg(long, value_name = "M")]
    pub(crate) model: Option<String>,
    /// Threads; 0: as the run file says
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Folder of the runs, which go on where they stopped, and of operators.csv, a line for each of them
    #[arg(long, value_name = "DIR", default_value = "runs/operators")]
    pub(crate) out: PathBuf,
    /// Run nothing; print the tables of the runs in these operators.csv, such as other machines', with commas between
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub(crate) merge: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NasBench201Args {
    /// The table (CSV), made by scripts/nasbench201_to_csv.py
    #[arg(long, value_name = "FILE")]
    pub(crate) table: PathBuf,
    /// cifar10, cifar100 or imagenet16-120, or several with commas between
    #[arg(long, value_name = "D", value_delimiter = ',', default_value = "cifar10")]
    pub(crate) dataset: Vec<String>,
    /// random, evolution, local, typed, surrogate; with --model also rank (its log-probabilities order the edits of
    /// a cell), llmatic (the paper's operators), llmatic-grammar (the same, kept to the grammar of cells), infill, and
    /// edits (their control); or several with commas between
    #[arg(long, value_name = "M", value_delimiter = ',', default_value = "surrogate")]
    pub(crate) method: Vec<String>,
    /// Distinct cells that a search may evaluate
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) evaluations: usize,
    /// Texts that a search of llmatic, infill or edits may have written as well, whatever becomes of them; 0: any
    /// number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) texts: usize,
    /// Searches per method
    #[arg(long, value_name = "K", default_value_t = 20)]
    pub(crate) seeds: u64,
    /// Root seed of the first search; the others follow
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first_seed: u64,
    /// Folder for the curves (CSV), the plot (SVG) and the cells that each search paid for (D-searches.csv), for the
    /// runs of llmatic, infill and edits, which go on where they stopped, and for the scores that rank asked for
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Search nothing; compare the searches in these D-searches.csv, such as other machines', with commas between
    #[arg(long, value_name = "FILES", value_delimiter = ',')]
    pub(crate) merge: Vec<PathBuf>,
    /// The LLM of rank, llmatic and infill: a model's name, an alias, or a GGUF file
    #[arg(long, value_name = "M", default_value = "none")]
    pub(crate) model: String,
    /// Memory that the LLM may take; default: the quickstart's model.memory_mb
    #[arg(long, value_name = "MB")]
    pub(crate) memory_mb: Option<u32>,
    /// What decides there: llm, or its controls opposite (asked for a low accuracy), none, random; several with commas
    /// between are compared with the first, paired by seed
    #[arg(long, value_name = "P", value_delimiter = ',', default_value = "llm")]
    pub(crate) prior: Vec<String>,
    /// Every prior that asks the LLM also with another order of the operations in each seed's prompts
    #[arg(long)]
    pub(crate) shuffle: bool,
    /// Threads; 0: as many as the machine has. Results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}
