//! `inspect`: what the front-end says of a source, without executing it.
//!
//! Output: verdict, layers with shapes, parameters, MACs, descriptor; or one JSON object. One limit: one
//! input shape.

use llmatic_offline::descriptor;
use llmatic_offline::graph::Graph;
use llmatic_offline::lower::{self, Network, Refusal, RepairSet, Verdict};
use llmatic_offline::search::sizes_told;
use serde_json::json;

use super::{Beside, read};
use crate::cli::args::InspectArgs;
use crate::cli::{Failure, printer};

/// `inspect`
pub(crate) fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let source = read(&args.file)?;
    let (sizes, classes) = sizes_told(&source).unwrap_or((vec![3, 32, 32], 10));
    let outcome = lower::lower(&lower::Request {
        entry: args.entry.as_deref(),
        repairs: if args.no_repair { RepairSet::none() } else { RepairSet::all() },
        imports: &Beside::of(&args.file),
        ..lower::Request::new(
            &source,
            args.input.as_ref().unwrap_or(&sizes),
            Some(args.classes.unwrap_or(classes)),
        )
    });
    let name = args.file.display().to_string();
    if args.json {
        printer::data(&object(&outcome, &source, &name).to_string());
    }
    match outcome {
        Ok(network) => {
            if !args.json {
                printer::data(&words(&network));
            }
            Ok(())
        }
        Err(refusal) => {
            if !args.json {
                printer::data(&format!("verdict: {}", refusal.verdict.as_str()));
            }
            Err(Failure::refused(refusal.render(&source, &name)))
        }
    }
}

fn object(outcome: &Result<Network, Refusal>, source: &str, name: &str) -> serde_json::Value {
    match outcome {
        Ok(network) => {
            let graph = &network.graph;
            let described = descriptor::of(graph);
            json!({
                "verdict": Verdict::Accepted.as_str(),
                "message": "",
                "params": graph.parameter_count(),
                "macs": graph.macs(),
                "output_shape": output_shape(graph),
                "repairs": repairs(network),
                "unfit": network.unfit.as_ref().map(|refusal| &refusal.message),
                "class": network.class_name,
                "architecture": graph.architecture_id(),
                "width_to_depth": described.width_to_depth,
                "log_flops": described.log_flops,
            })
        }
        Err(refusal) => json!({
            "verdict": refusal.verdict.as_str(),
            "message": refusal.message,
            "rendered": refusal.render(source, name),
            "params": null,
            "macs": null,
            "output_shape": null,
            "repairs": [],
        }),
    }
}

fn words(network: &Network) -> String {
    let graph = &network.graph;
    let rows: Vec<Vec<String>> = graph
        .layers()
        .into_iter()
        .map(|layer| {
            vec![
                layer.path,
                layer.class,
                layer.output,
                printer::grouped(layer.parameters),
                printer::grouped(layer.macs),
            ]
        })
        .collect();
    let mut text = format!("verdict: accepted ({})\n", network.class_name);
    for repair in repairs(network) {
        text.push_str(&format!("repaired: {repair}\n"));
    }
    if let Some(refusal) = &network.unfit {
        text.push_str(&format!("a search would refuse it: {}\n", refusal.message));
    }
    text.push_str(&printer::table(&["layer", "class", "output", "parameters", "MACs"], &rows, &[3, 4]));
    let described = descriptor::of(graph);
    text.push_str(&format!(
        "\n\nparameters {}, MACs {}, output {}\n\
         descriptor: width-to-depth {:.3} ({} / {}), log10 FLOPs {:.3}\narchitecture {}",
        printer::grouped(graph.parameter_count()),
        printer::grouped(graph.macs()),
        graph.eval.fact(graph.eval.output).shape,
        described.width_to_depth,
        described.width,
        described.depth,
        described.log_flops,
        graph.architecture_id()
    ));
    text
}

fn repairs(network: &Network) -> Vec<String> {
    network.repairs.iter().map(|repair| format!("{}: {}", repair.name, repair.detail)).collect()
}

/// Sizes of the output for one sample.
fn output_shape(graph: &Graph) -> Vec<i64> {
    graph.eval.fact(graph.eval.output).shape.0.iter().map(|dim| dim.at(1)).collect()
}
