//! Where the text of a result goes: to the terminal, to a pager if it does not fit there, to a file.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use unicode_width::UnicodeWidthStr;

use super::pager::{self, Pager};
use crate::failure::Failure;
use crate::signals::Signals;

/// Lines that the shell itself writes below a result: how long it took, and the prompt.
const BELOW: usize = 2;

/// Whether whoever reads wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// They do.
    More,
    /// They have seen enough.
    Enough,
}

/// Takes the text of one result.
pub struct Sink {
    to: To,
}

enum To {
    /// It is not known yet whether it fits.
    Undecided(Screenful, String),
    Terminal,
    Pager(Box<Pager>),
    File(Arc<File>),
}

/// The beginning of a text, as long as it fits the terminal.
#[derive(Debug, Default)]
struct Screenful {
    text: Vec<u8>,
    columns: usize,
    lines: usize,
}

impl Screenful {
    /// Takes lines as a whole and says whether all of them fit.
    fn take(&mut self, text: &[u8], columns: usize, lines: usize) -> bool {
        self.text.extend_from_slice(text);
        let text = String::from_utf8_lossy(text);
        self.lines += text.lines().count();
        self.columns = text.lines().map(|line| line.width()).fold(self.columns, usize::max);
        self.columns <= columns && self.lines + BELOW <= lines
    }
}

impl Sink {
    /// The terminal, or whatever else standard output is; long results go through a pager if that is wanted.
    pub fn terminal(paged: bool) -> Self {
        let pager = if paged && io::stdout().is_terminal() { pager::wanted() } else { None };
        Self { to: pager.map_or(To::Terminal, |program| To::Undecided(Screenful::default(), program)) }
    }

    /// A file.
    pub fn file(file: Arc<File>) -> Self {
        Self { to: To::File(file) }
    }

    /// Takes whole lines. `before` is called before anything appears on the terminal.
    pub async fn write(&mut self, text: &[u8], before: impl FnOnce()) -> Result<Flow, Failure> {
        if text.is_empty() {
            return Ok(Flow::More);
        }
        match &mut self.to {
            To::Undecided(held, program) => {
                let (columns, lines) = terminal_size();
                if held.take(text, columns, lines) {
                    return Ok(Flow::More);
                }
                before();
                let held = std::mem::take(&mut held.text);
                self.to = To::Pager(Box::new(Pager::start(program)?));
                // From here on the pager is waited for, even if nobody waits for this write.
                match &mut self.to {
                    To::Pager(pager) => pager.write(&held).await,
                    To::Undecided(..) | To::Terminal | To::File(_) => Ok(Flow::More),
                }
            }
            To::Pager(pager) => pager.write(text).await,
            To::Terminal => {
                before();
                to_stdout(text)
            }
            To::File(file) => write_file(file, text),
        }
    }

    /// Shows what is held back, and from now on everything as it comes.
    pub fn go_live(&mut self, before: impl FnOnce()) -> Result<Flow, Failure> {
        match &self.to {
            To::Undecided(held, _) => {
                before();
                let flow = to_stdout(&held.text);
                self.to = To::Terminal;
                flow
            }
            To::Terminal | To::Pager(_) | To::File(_) => Ok(Flow::More),
        }
    }

    /// Waits until whoever reads has gone.
    pub async fn left(&mut self) {
        match &mut self.to {
            To::Pager(pager) => pager.left().await,
            To::Undecided(..) | To::Terminal | To::File(_) => std::future::pending().await,
        }
    }

    /// Shows what is held back, and waits until it was read.
    pub async fn finish(mut self, signals: &mut Signals) -> Result<(), Failure> {
        self.go_live(|| ())?;
        match self.to {
            To::Pager(pager) => pager.finish(signals).await,
            To::Undecided(..) | To::Terminal | To::File(_) => Ok(()),
        }
    }
}

/// Columns and lines. A terminal that does not say is taken to be large enough.
fn terminal_size() -> (usize, usize) {
    let known = |size: u16| if size == 0 { usize::MAX } else { usize::from(size) };
    crossterm::terminal::size().map_or((usize::MAX, usize::MAX), |(columns, lines)| (known(columns), known(lines)))
}

fn to_stdout(text: &[u8]) -> Result<Flow, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map(|()| Flow::More).map_err(Failure::output)
}

fn write_file(mut file: &File, text: &[u8]) -> Result<Flow, Failure> {
    file.write_all(text).map(|()| Flow::More).map_err(|source| Failure::io("cannot write to the file of \\o", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_fits_by_its_lines_and_its_widest_one() {
        let fits = |text: &str| Screenful::default().take(text.as_bytes(), 4, 5);
        assert!(fits("a\nb\nc\n"));
        assert!(!fits("a\nb\nc\nd\n"));
        assert!(fits("冰冰\n"));
        assert!(!fits("冰冰冰\n"));
        let mut held = Screenful::default();
        assert!(held.take(b"a\n", 4, 5) && held.take(b"b\nc\n", 4, 5) && !held.take(b"d\n", 4, 5));
        assert_eq!(held.text, b"a\nb\nc\nd\n");
    }
}
