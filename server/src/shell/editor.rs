//! The line editor: history, when an input is complete, what Tab does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use reedline::{
    Completer, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, Reedline, ReedlineEvent, ReedlineMenu,
    Span, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};

use super::command;
use super::complete::complete;
use super::highlight::{Colours, Screen};
use super::menu::{self, Completions};
use super::names::KnownNames;

/// How many inputs the history keeps.
const HISTORY: usize = 10_000;

/// An editor that completes these names, and what keeps it from having a history, if anything does.
pub fn editor(names: Arc<KnownNames>) -> (Reedline, Option<String>) {
    // Any value but an empty one asks for none: https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen::default();
    let mut keys = default_emacs_keybindings();
    let open = ReedlineEvent::Menu(menu::NAME.to_owned());
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(vec![open, ReedlineEvent::MenuNext]));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, ReedlineEvent::Edit(vec![EditCommand::InsertNewline]));
    let editor = Reedline::create()
        .with_validator(Box::new(UntilComplete))
        .with_completer(Box::new(Names { names, screen: screen.clone() }))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(Completions::new())))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_highlighter(Box::new(Colours { wanted: colours, screen }))
        .with_ansi_colors(colours)
        // A pasted Tab is no completion, and a pasted line end executes nothing.
        .use_bracketed_paste(true)
        .with_edit_mode(Box::new(Emacs::new(keys)));
    let Some(path) = history_file() else { return (editor, None) };
    match FileBackedHistory::with_file(HISTORY, path.clone()) {
        Ok(history) => (editor.with_history(Box::new(history)), None),
        // A read-only home must not keep anybody from asking questions.
        Err(error) => (editor, Some(format!("no history: cannot use {}: {error}", path.display()))),
    }
}

struct UntilComplete;

impl Validator for UntilComplete {
    fn validate(&self, typed: &str) -> ValidationResult {
        if command::ends_input(typed) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

struct Names {
    names: Arc<KnownNames>,
    screen: Screen,
}

impl Completer for Names {
    fn complete(&mut self, before: &str, cursor: usize) -> Vec<Suggestion> {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = with_rest_of(before, &screen);
        let found = complete(&text, cursor, &self.names.get());
        let span = Span { start: found.start.min(cursor), end: cursor };
        let suggestion =
            |value, append_whitespace| Suggestion { value, span, append_whitespace, ..Suggestion::default() };
        if found.path {
            return paths(&before[span.start..]).into_iter().map(|path| suggestion(path, false)).collect();
        }
        found.candidates.into_iter().map(|candidate| suggestion(candidate.text, candidate.blank)).collect()
    }
}

/// What stands before the cursor, with what stands behind it on the screen. Letters that came at once with the Tab are not
/// on the screen yet.
fn with_rest_of(before: &str, screen: &str) -> String {
    let same = before.char_indices().zip(screen.chars()).find(|((_, a), b)| a != b).map(|((offset, _), _)| offset);
    let same = same.unwrap_or_else(|| before.len().min(screen.len()));
    format!("{before}{}", screen.get(same..).unwrap_or_default())
}

/// The files and directories whose paths begin with what is typed; directories end with a slash.
fn paths(typed: &str) -> Vec<String> {
    let (directory, name) = typed.split_at(typed.rfind('/').map_or(0, |slash| slash + 1));
    let place = if directory.is_empty() { Path::new(".") } else { Path::new(directory) };
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.file_name().into_string().ok()?;
            // Hidden files are for those who ask.
            let fits = found.starts_with(name) && (name.starts_with('.') || !found.starts_with('.'));
            let end = if entry.path().is_dir() { "/" } else { "" };
            fits.then(|| format!("{directory}{found}{end}"))
        })
        .collect();
    found.sort();
    found
}

/// `$FRAZIL_HISTORY`, else a file in the user's state directory; none without a home.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FRAZIL_HISTORY").or_else(|| {
        let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))?;
        Some(state.join("frazil/history"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_the_cursor_is_known_from_the_screen() {
        assert_eq!(with_rest_of("SELECT a", "SELECT a FROM t"), "SELECT a FROM t");
        assert_eq!(with_rest_of("SELECT ab", "SELECT  FROM t"), "SELECT ab FROM t");
        assert_eq!(with_rest_of("é", ""), "é");
        assert_eq!(with_rest_of("", "é"), "é");
    }

    #[test]
    fn paths_are_completed_from_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one.sql", "other.sql", ".hidden"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("old")).unwrap();
        let base = format!("{}/", dir.path().display());
        let completed = |typed: &str| -> Vec<String> {
            paths(&format!("{base}{typed}")).iter().map(|path| path[base.len()..].to_owned()).collect()
        };
        assert_eq!(completed("o"), ["old/", "one.sql", "other.sql"]);
        assert_eq!(completed("on"), ["one.sql"]);
        assert_eq!(completed(".h"), [".hidden"]);
        assert_eq!(completed("nothing/x"), Vec::<String>::new());
    }
}
