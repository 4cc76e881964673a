//! Colours for what is typed: keywords, text in quotes, comments, commands of the shell.

use std::sync::{Arc, Mutex, PoisonError};

use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

use super::lex::{self, Kind};
use super::words;

/// The whole text on the screen. The editor gives completions only what stands before the cursor, but what stands
/// behind it (the tables of a SELECT) decides too.
pub type Screen = Arc<Mutex<String>>;

/// Colours text, and keeps it for completions.
pub struct Colours {
    /// False where the user wants none: then it only keeps the text.
    pub wanted: bool,
    /// The text as it was drawn last.
    pub screen: Screen,
}

impl Highlighter for Colours {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        line.clone_into(&mut self.screen.lock().unwrap_or_else(PoisonError::into_inner));
        let mut styled = StyledText::new();
        if !self.wanted {
            styled.push((Style::new(), line.to_owned()));
        } else if line.trim_start().starts_with('\\') {
            styled.push((Color::Cyan.normal(), line.to_owned()));
        } else {
            for token in lex::tokens(line) {
                styled.push((style(token.kind, token.text), token.text.to_owned()));
            }
        }
        styled
    }
}

fn style(kind: Kind, text: &str) -> Style {
    match kind {
        Kind::Word if words::is_keyword(text) => Color::Blue.bold(),
        Kind::Literal => Color::Green.normal(),
        Kind::Comment => Style::new().dimmed(),
        _ => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_leave_the_text_as_it_is() {
        let text = "SELECT 'é' -- x\nFROM t";
        for wanted in [true, false] {
            let colours = Colours { wanted, screen: Screen::default() };
            assert_eq!(colours.highlight(text, 0).raw_string(), text);
            assert_eq!(*colours.screen.lock().unwrap(), text);
        }
        let parts = Colours { wanted: true, screen: Screen::default() }.highlight(text, 0).buffer;
        assert_eq!(parts[0], (Color::Blue.bold(), "SELECT".to_owned()));
        assert_eq!(parts[2], (Color::Green.normal(), "'é'".to_owned()));
    }
}
