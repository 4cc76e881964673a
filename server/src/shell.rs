//! The interactive shell: reads statements over several lines, executes them, prints results and how long they took.
//!
//! What is typed is understood by pure functions (`command`, `complete`, over the tokens of `lex`); `session` does what
//! they say, `show` and `sink` bring rows to the terminal, a pager or a file while they come.

mod command;
mod complete;
mod describe;
mod edit;
mod editor;
mod highlight;
mod lex;
mod menu;
mod names;
mod pager;
mod prompt;
mod scope;
mod session;
mod show;
mod sink;
mod spinner;
mod words;

use std::sync::Arc;

use reedline::{EditCommand, HistoryItem, Reedline, Signal};

use crate::cli::SqlArgs;
use crate::executor::{self, Executor};
use crate::failure::Failure;
use crate::input;
use crate::signals::Signals;

use names::KnownNames;
use prompt::SqlPrompt;
use session::{Next, Session, say};

/// Talks to the user until they leave. Errors of statements do not end it.
pub async fn interact(args: &SqlArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let clock = executor::clock();
    let executor = Executor::open(args, input::current_dir()?, Arc::clone(&clock)).await?;
    let place = match &args.server {
        Some(url) => format!("server {url}"),
        None => format!("warehouse {}", args.warehouse),
    };
    say(&format!("Frazil {}, {place}. \"help\" for help.", env!("CARGO_PKG_VERSION")))?;
    let names = Arc::new(KnownNames::default());
    let (editor, complaint) = editor::editor(names.clone());
    if let Some(complaint) = complaint {
        say(&complaint)?;
    }
    let mut session = Session::new(executor, clock, names, args.format);
    let outcome = converse(&mut session, editor, &mut signals).await;
    session.stop_fetching();
    outcome.and(session.executor.close().await)
}

async fn converse(session: &mut Session, mut editor: Reedline, signals: &mut Signals) -> Result<(), Failure> {
    loop {
        session.refresh_names();
        let reading = tokio::task::spawn_blocking(move || (editor.read_line(&SqlPrompt), editor));
        let read = tokio::select! {
            read = reading => read.map_err(|e| Failure::io("cannot read from the terminal", e.into()))?,
            () = signals.terminate() => {
                // The editor still waits for a key, and has set up the terminal for that.
                let _ = crossterm::execute!(std::io::stdout(), crossterm::event::DisableBracketedPaste);
                let _ = crossterm::terminal::disable_raw_mode();
                say("")?;
                return Err(Failure::Interrupted);
            }
        };
        editor = read.1;
        let typed = match read.0.map_err(|source| Failure::io("cannot read from the terminal", source))? {
            Signal::CtrlC => continue,
            Signal::CtrlD => return Ok(()),
            Signal::Success(typed) => typed,
        };
        // Now rather than at the end, which may come suddenly. A file that cannot be written was complained of at the start.
        let _ = editor.sync_history();
        match session.take(&typed, signals).await? {
            Next::Prompt => {}
            Next::Leave => return Ok(()),
            // What came from another editor is executed at once if it is complete, else there is more to type.
            Next::PromptWith(edited) if command::ends_input(&edited) => {
                say(&edited)?;
                let _ = editor.history_mut().save(HistoryItem::from_command_line(&edited));
                if session.take(&edited, signals).await? == Next::Leave {
                    return Ok(());
                }
            }
            Next::PromptWith(edited) => editor.run_edit_commands(&[EditCommand::InsertString(edited)]),
        }
    }
}
