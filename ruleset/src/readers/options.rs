//! The options of a rule, one after the other: what every module and target reads its arguments with.

use super::ReadError;
use super::values::Reason;
use super::words::{Cursor, Word};
use crate::ids::{StrId, Strings};
use crate::value::Family;
use std::borrow::Cow;

/// The option being read, and what it is read with.
pub(crate) struct Options<'a, 't> {
    pub(crate) cursor: Cursor<'a, 't>,
    pub(crate) strings: &'a mut Strings,
    pub(crate) family: Family,
    /// The word of the option being read.
    pub(crate) option: Word,
    /// What that word stands for, where iptables would not take it so.
    pub(crate) repaired: Option<&'static str>,
    /// Whether a `!` stands before it (or, in the old spelling, before its argument) that nobody took yet.
    pub(crate) inverted: bool,
}

impl<'t> Options<'_, 't> {
    /// The option's argument.
    pub(crate) fn text(&mut self, needs: &str) -> Result<Cow<'t, str>, ReadError> {
        let word = self.cursor.value(self.option, &mut self.inverted, needs)?;
        Ok(self.cursor.text(word))
    }

    /// The option's argument, read by `read`.
    pub(crate) fn value<T>(
        &mut self,
        needs: &str,
        read: impl FnOnce(&str) -> Result<T, Reason>,
    ) -> Result<T, ReadError> {
        let word = self.cursor.value(self.option, &mut self.inverted, needs)?;
        let text = self.cursor.text(word);
        read(&text).map_err(|reason| self.cursor.fail(word, reason))
    }

    /// The option's argument, interned.
    pub(crate) fn interned(&mut self, needs: &str) -> Result<StrId, ReadError> {
        let text = self.text(needs)?;
        Ok(self.strings.intern(&text))
    }

    /// Takes the `!`.
    pub(crate) fn inversion(&mut self) -> bool {
        std::mem::take(&mut self.inverted)
    }

    /// An error about the option's word.
    pub(crate) fn fail(&self, message: impl Into<String>) -> ReadError {
        self.cursor.fail(self.option, message)
    }

    /// Takes an option that is kept as text, with its `!` and the words up to the next option.
    pub(crate) fn keep(&mut self, kept: &mut String) {
        if !kept.is_empty() {
            kept.push(' ');
        }
        if self.inversion() {
            kept.push_str("! ");
        }
        let option = self.repaired.unwrap_or(self.cursor.raw(self.option));
        kept.push_str(option);
        while !self.cursor.at_option() {
            let Some(word) = self.cursor.next() else {
                return;
            };
            kept.push(' ');
            if word.quoted || option.ends_with("prefix") || option == "--string" {
                crate::save::quote(&self.cursor.text(word), kept);
            } else if self.cursor.raw(word) == "!" {
                kept.push('!');
            } else {
                crate::save::word(self.cursor.raw(word), kept);
            }
        }
    }
}
