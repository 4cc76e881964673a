//! The lines of one byte range of a file, in blocks.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::super::BATCH_BYTES;
use super::super::files::{open_at, unreadable};
use crate::error::Result;

/// Bytes read from the file at once.
const CHUNK: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line within [`Lines::text`], its line break included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads the lines that begin in `begin..end`, blank ones left out.
pub(super) struct Lines {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    /// Bytes of the file; those before `used` belong to earlier blocks.
    buffer: Vec<u8>,
    used: usize,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    end: u64,
    input_ended: bool,
    lines: Vec<Line>,
}

impl Lines {
    /// `resume`: the offset of the line at which to go on, or 0 for the range's first line.
    pub(super) fn open(path: &Path, begin: u64, end: u64, resume: u64) -> Result<Self> {
        // The byte before the range decides whether a line begins right at `begin`.
        let base = if resume > 0 { resume } else { begin.saturating_sub(1) };
        let mut lines = Self {
            path: path.to_path_buf(),
            input: open_at(path, base)?,
            buffer: Vec::new(),
            used: 0,
            base,
            end,
            input_ended: false,
            lines: Vec::new(),
        };
        if resume == 0 && begin > 0 {
            lines.skip_line()?;
        } else if base == 0 {
            while lines.buffer.len() < BYTE_ORDER_MARK.len() && lines.fill()? {}
            lines.used = if lines.buffer.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        }
        Ok(lines)
    }

    /// The bytes into which lines point.
    pub(super) fn text(&self) -> &[u8] {
        &self.buffer
    }

    /// Offset in the file after the lines given so far.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.used as u64
    }

    /// Offset in the file of a line.
    pub(super) fn offset_of(&self, line: &Line) -> u64 {
        self.base + line.start as u64
    }

    /// The lines of the present block; the caller gives the vector back for the next one.
    pub(super) fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }

    /// See [`Lines::take`].
    pub(super) fn give_back(&mut self, lines: Vec<Line>) {
        self.lines = lines;
    }

    /// Moves to the next block of at most `max` lines. `false`: there is none.
    pub(super) fn next(&mut self, max: usize) -> Result<bool> {
        self.lines.clear();
        // Moving the rest to the front costs as much as the rest is long: only when more than that was used.
        if self.used * 2 >= self.buffer.len() {
            self.buffer.drain(..self.used);
            self.base += self.used as u64;
            self.used = 0;
        }
        let begin = self.used;
        while self.lines.len() < max && self.offset() < self.end {
            let full = self.used - begin >= BATCH_BYTES && !self.lines.is_empty();
            let Some(end) = (if full { None } else { self.line_end()? }) else { break };
            let line = Line { start: self.used, end };
            self.used = end;
            if !is_blank(&self.buffer[line.start..line.end]) {
                self.lines.push(line);
            }
        }
        Ok(!self.lines.is_empty())
    }

    fn skip_line(&mut self) -> Result<()> {
        if let Some(end) = self.line_end()? {
            self.used = end;
        }
        Ok(())
    }

    /// Where the line that begins at `used` ends; `None` at the end of the file.
    fn line_end(&mut self) -> Result<Option<usize>> {
        let mut scanned = self.used;
        loop {
            let mut rest = &self.buffer[scanned..];
            let length = rest.skip_until(b'\n').map_err(|e| unreadable(&self.path, e))?;
            scanned += length;
            if length > 0 && self.buffer[scanned - 1] == b'\n' {
                return Ok(Some(scanned));
            }
            if !self.fill()? {
                return Ok((scanned > self.used).then_some(scanned));
            }
        }
    }

    /// Reads more bytes. `false` at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        if self.input_ended {
            return Ok(false);
        }
        let read = (&mut self.input).take(CHUNK as u64).read_to_end(&mut self.buffer);
        self.input_ended = read.map_err(|e| unreadable(&self.path, e))? == 0;
        Ok(!self.input_ended)
    }
}

fn is_blank(line: &[u8]) -> bool {
    // Nearly every line begins with a brace.
    line.first() != Some(&b'{') && line.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(path: &Path, begin: u64, end: u64, resume: u64, max: usize) -> (Vec<String>, u64) {
        let mut lines = Lines::open(path, begin, end, resume).unwrap();
        let mut all = Vec::new();
        while lines.next(max).unwrap() {
            let block = lines.take();
            assert!(block.len() <= max);
            all.extend(block.iter().map(|l| String::from_utf8_lossy(&lines.text()[l.start..l.end]).trim().to_string()));
            lines.give_back(block);
        }
        (all, lines.offset())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn every_line_is_in_exactly_one_range(
            lengths in prop::collection::vec(0_usize..30, 0..40),
            step in 1_u64..60,
            break_at_end in any::<bool>(),
            carriage_returns in any::<bool>(),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("lines");
            let lines: Vec<String> = lengths.iter().enumerate().map(|(i, n)| format!("{i}{}", "x".repeat(*n))).collect();
            let mut text = lines.join(if carriage_returns { "\r\n" } else { "\n" });
            if break_at_end {
                text.push('\n');
            }
            std::fs::write(&path, &text).unwrap();
            let mut found = Vec::new();
            for i in 0..(text.len() as u64).div_ceil(step) {
                found.extend(read(&path, i * step, (i + 1) * step, 0, 3).0);
            }
            prop_assert_eq!(found, lines);
        }
    }

    #[test]
    fn lines_longer_than_a_chunk_marks_and_blank_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        let long = "y".repeat(3 * CHUNK);
        std::fs::write(&path, format!("\u{feff}a\n\n  \n{long}\n\nb")).unwrap();
        assert_eq!(read(&path, 0, u64::MAX, 0, 1).0, ["a", &long, "b"]);
        std::fs::write(&path, "\n\n\n").unwrap();
        assert_eq!(read(&path, 0, u64::MAX, 0, 1), (vec![], 3));
    }
}
