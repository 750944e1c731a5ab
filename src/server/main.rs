//! The program `hearth`. Everything is in the library beside it.

fn main() -> std::process::ExitCode {
    hearth_server::command_line::run()
}
