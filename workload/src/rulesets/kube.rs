//! Rulesets as a kube-proxy writes them.

use super::Recipe;
use super::sets::Sets;
use super::values::Values;
use crate::numbers::Numbers;

/// The whole text.
pub(super) fn text(recipe: &Recipe, values: &Values, sets: &Sets, numbers: &mut Numbers) -> String {
    super::free::text(recipe, values, sets, numbers)
}
