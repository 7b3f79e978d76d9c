//! All cases of a folder.

use super::error::Problem;
use super::{Case, CorpusError, cases};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads every `*.toml` of `folder`, in the order of their names.
///
/// # Errors
/// Those of [`cases`]; where the folder or a file cannot be read, or holds no case; where cases of two files have one name.
pub fn read_folder(folder: &Path) -> Result<Vec<Case>, CorpusError> {
    let mut all: Vec<Case> = Vec::new();
    let mut homes: HashMap<String, String> = HashMap::new();
    for path in files(folder)? {
        let file = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let text = fs::read_to_string(&path).map_err(|why| unreadable(&path, &why))?;
        let found = cases(&text, &file)?;
        if found.is_empty() {
            return Err(CorpusError::new(&file, None, Problem::Empty));
        }
        for case in &found {
            if homes.insert(case.name.clone(), file.clone()).is_some() {
                return Err(CorpusError::new(
                    &file,
                    Some(&case.name),
                    Problem::Duplicate,
                ));
            }
        }
        all.extend(found);
    }
    if all.is_empty() {
        let folder = folder.display().to_string();
        return Err(CorpusError::new(&folder, None, Problem::Empty));
    }
    Ok(all)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CorpusError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|why| unreadable(folder, &why))? {
        let path = entry.map_err(|why| unreadable(folder, &why))?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, why: &std::io::Error) -> CorpusError {
    let path = path.display().to_string();
    CorpusError::new(&path, None, Problem::Unreadable(why.to_string()))
}
