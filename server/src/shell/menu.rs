//! The menu of completions: there as long as it is used, gone with the next letter.
//!
//! reedline's own menu stays open and follows what is typed, and then the enter key takes a completion that nobody asked for
//! instead of executing the statement.

use reedline::{ColumnarMenu, Completer, Editor, Menu, MenuBuilder, MenuEvent, Painter, Suggestion};

/// What the key bindings call it.
pub const NAME: &str = "completion";

/// Columns of completions.
pub struct Completions(ColumnarMenu);

impl Completions {
    /// A menu that is not shown yet.
    pub fn new() -> Self {
        Self(ColumnarMenu::default().with_name(NAME).with_marker("> "))
    }
}

impl Menu for Completions {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn indicator(&self) -> &str {
        self.0.indicator()
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn menu_event(&mut self, event: MenuEvent) {
        self.0.menu_event(match event {
            MenuEvent::Edit(_) => MenuEvent::Deactivate,
            other => other,
        });
    }

    fn can_quick_complete(&self) -> bool {
        self.0.can_quick_complete()
    }

    fn can_partially_complete(
        &mut self,
        values_updated: bool,
        editor: &mut Editor,
        completer: &mut dyn Completer,
    ) -> bool {
        self.0.can_partially_complete(values_updated, editor, completer)
    }

    fn update_values(&mut self, editor: &mut Editor, completer: &mut dyn Completer) {
        if !self.is_active() {
            return;
        }
        self.0.update_values(editor, completer);
        if self.0.get_values().is_empty() {
            self.0.menu_event(MenuEvent::Deactivate);
        }
    }

    fn update_working_details(&mut self, editor: &mut Editor, completer: &mut dyn Completer, painter: &Painter) {
        self.0.update_working_details(editor, completer, painter);
    }

    fn replace_in_buffer(&self, editor: &mut Editor) {
        self.0.replace_in_buffer(editor);
    }

    fn menu_required_lines(&self, terminal_columns: u16) -> u16 {
        self.0.menu_required_lines(terminal_columns)
    }

    fn menu_string(&self, available_lines: u16, use_ansi_coloring: bool) -> String {
        self.0.menu_string(available_lines, use_ansi_coloring)
    }

    fn min_rows(&self) -> u16 {
        self.0.min_rows()
    }

    fn get_values(&self) -> &[Suggestion] {
        self.0.get_values()
    }
}
