//! Settings of `frazil server`, `coordinator` and `worker` in the order in which they count: options of the command line, variables of the environment
//! (`FRAZIL_*`), a TOML file (`--config`), defaults. The command line's definition (`cli`) is the one list of them all: a key of
//! the file is the long name of an option, and `--print-config` prints that list as such a file.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::{self, Cli};
use crate::failure::Failure;

/// The subcommands that have settings in files.
const SERVERS: [&str; 2] = ["server", "coordinator"];
/// The option that names the file, and its variable.
const CONFIG: (&str, &str) = ("config", "FRAZIL_CONFIG");

/// What the program was asked to do.
pub enum Asked {
    /// To run.
    Run(Box<Cli>),
    /// To print this.
    Print(String),
}

/// Reads the command line, the environment and the file.
///
/// # Errors
/// If the file cannot be read, or holds a key that is no setting. Wrong options end the program, as `clap` does it.
pub fn read(arguments: Vec<OsString>) -> Result<Asked, Failure> {
    let mut command = Cli::command();
    let server = subcommand(&arguments);
    if let Some((server, file)) = server.and_then(|server| Some((server, file(&arguments)?))) {
        let text = std::fs::read_to_string(&file).map_err(|source| {
            Failure::io(format!("cannot read the configuration {}", Path::new(&file).display()), source)
        })?;
        command = with_file(command, server, &text)
            .map_err(|why| Failure::refused(format!("the configuration {}: {why}", Path::new(&file).display())))?;
    }
    let definition = command.clone();
    let matches = command.get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let prints = match &cli.command {
        Some(cli::Command::Server(args)) => args.print_config,
        Some(cli::Command::Coordinator(args)) => args.server.print_config,
        _ => false,
    };
    match matches.subcommand() {
        Some((server, matches)) if prints => Ok(Asked::Print(printed(&definition, server, matches))),
        _ => Ok(Asked::Run(Box::new(cli))),
    }
}

/// The subcommand, if it has settings.
fn subcommand(arguments: &[OsString]) -> Option<&'static str> {
    let first = arguments.get(1)?;
    SERVERS.into_iter().find(|server| first == server)
}

/// The file that the command line or the environment names.
fn file(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments.iter().skip(2);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == format!("--{}", CONFIG.0) {
            return arguments.next().cloned();
        }
        if let Some(file) = text.strip_prefix(&format!("--{}=", CONFIG.0)) {
            return Some(file.into());
        }
    }
    std::env::var_os(CONFIG.1)
}

/// Whether an option is one that a file may hold: those that have a variable, but for the file's own name.
fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some() && arg.get_id() != CONFIG.0
}

/// What a file says takes the place of defaults.
fn with_file(command: Command, server: &'static str, text: &str) -> Result<Command, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
    let known: Vec<String> = command
        .find_subcommand(server)
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter(|arg| is_setting(arg))
        .filter_map(|arg| Some(arg.get_long()?.to_owned()))
        .collect();
    let mut values = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        if !known.contains(&name) {
            let nearest = engine::options::nearest(&name, known.iter().map(String::as_str));
            let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
            return Err(format!("there is no setting named {key}{hint} (frazil {server} --print-config lists all)"));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(yes) => yes.to_string(),
            other => return Err(format!("{key} is a {}, not a string or number", other.type_str())),
        };
        values.push((name, value));
    }
    Ok(command.mut_subcommand(server, |server| {
        server.mut_args(|arg| match values.iter().find(|(name, _)| arg.get_long() == Some(name.as_str())) {
            Some((_, value)) => arg.default_value(value.clone()),
            None => arg,
        })
    }))
}

/// All settings with what they mean and their present values, as a file.
fn printed(definition: &Command, server: &str, matches: &ArgMatches) -> String {
    let mut text = format!(
        "# Settings of `frazil {server}`. Options of the command line and FRAZIL_* variables go before this file.\n",
    );
    let Some(server) = definition.find_subcommand(server) else { return text };
    for arg in server.get_arguments().filter(|arg| is_setting(arg)) {
        let (Some(long), Some(variable)) = (arg.get_long(), arg.get_env()) else { continue };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\n# {help}\n# --{long}, {}\n", variable.to_string_lossy()));
        let value = matches.get_raw(arg.get_id().as_str()).and_then(|mut values| values.next());
        match value {
            // It may hold a password.
            Some(_) if arg.is_hide_env_values_set() => text.push_str(&format!("# {long} = (set, but not shown)\n")),
            Some(value) => {
                let value = toml::Value::String(value.to_string_lossy().into_owned());
                text.push_str(&format!("{long} = {value}\n"));
            }
            None => text.push_str(&format!("# {long} =\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(file: &str, arguments: &[&str]) -> Result<cli::ServerArgs, String> {
        let command = with_file(Cli::command(), "server", file)?;
        let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
        match Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?.command {
            Some(cli::Command::Server(args)) => Ok(args),
            _ => Err("not the server".into()),
        }
    }

    #[test]
    fn options_go_before_the_file_and_the_file_before_defaults() {
        let file = "pg = '127.0.0.1:1'\nhttp = '127.0.0.1:2'\nparallelism = 3\n";
        let args = parsed(file, &["frazil", "server", "--pg", "127.0.0.1:9"]).unwrap();
        assert_eq!((args.pg.port(), args.http.port(), args.parallelism), (9, 2, Some(3)));
        assert_eq!(args.commit_interval.as_secs(), 1);
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        assert!(parsed("htpp = 'x'", &["frazil", "server"]).unwrap_err().contains("did you mean http?"));
        assert!(parsed("pg = [1]", &["frazil", "server"]).unwrap_err().contains("not a string or number"));
        assert!(parsed("pg = 'nowhere'", &["frazil", "server"]).is_err());
        assert!(parsed("pg = ", &["frazil", "server"]).is_err());
    }

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        let file = "parallelism = 5\ncatalog = 'postgres://me:s3cret@there/db'";
        let mut command = with_file(Cli::command(), "server", file).unwrap();
        let matches = command.clone().get_matches_from(["frazil", "server", "--http", "127.0.0.1:7"]);
        let text = printed(&command, "server", matches.subcommand_matches("server").unwrap());
        let args = parsed(&text, &["frazil", "server"]).unwrap();
        assert_eq!((args.http.port(), args.parallelism), (7, Some(5)));
        assert!(text.contains("FRAZIL_PG") && text.contains("FRAZIL_CATALOG"), "{text}");
        let help = command.find_subcommand_mut("server").unwrap().render_long_help().to_string();
        assert!(!text.contains("s3cret") && !help.contains("s3cret"), "{text}{help}");
    }
}
