//! `llmatic-offline`: words on the terminal. Parses the command line, calls the library, maps errors to exit codes.

fn main() {}
