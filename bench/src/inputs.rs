//! The files of a workload: the repository's own, or generated once into `target/bench/`, named by what they were generated from.

use crate::workload::{Capture, Packing, Rules, Workload};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the repository is.
pub fn repository() -> PathBuf {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    bench.parent().unwrap_or(bench).to_owned()
}

/// A workload's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The rules.
    pub rules: PathBuf,
    /// The capture.
    pub capture: PathBuf,
}

/// Where files are generated, and by what.
#[derive(Clone, Debug)]
pub struct Maker {
    folder: PathBuf,
    program: PathBuf,
}

impl Maker {
    /// Builds `kpclass`, which generates.
    ///
    /// # Errors
    /// If it does not build.
    pub fn build() -> Result<Self, String> {
        let root = repository();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--release", "--quiet", "-p", "kpclass"])
            .current_dir(&root)
            .status();
        if !built.is_ok_and(|status| status.success()) {
            return Err("cargo build --release -p kpclass failed".into());
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| root.join("target"));
        let folder = target.join("bench");
        fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        Ok(Self {
            folder,
            program: target.join("release").join("kpclass"),
        })
    }

    /// The files of a workload, generated if they are not there.
    ///
    /// # Errors
    /// If they cannot be generated.
    pub fn files(&self, workload: &Workload) -> Result<Files, String> {
        let rules = match &workload.rules {
            Rules::File(file) => repository().join(file),
            Rules::Generate(arguments) => {
                let words = format!("generate cluster {arguments}");
                self.generated(&words, "rules")?
            }
        };
        let capture = match &workload.capture {
            Capture::File(file) => repository().join(file),
            Capture::Generate {
                arguments,
                format,
                packing,
            } => {
                let rules = rules.display();
                let words = format!("generate capture --rules {rules} {arguments}");
                let plain = self.generated(&words, format)?;
                match packing {
                    Some(packing) => packed(&plain, *packing)?,
                    None => plain,
                }
            }
        };
        Ok(Files { rules, capture })
    }

    /// What `kpclass WORDS -o FILE` writes.
    fn generated(&self, words: &str, ending: &str) -> Result<PathBuf, String> {
        let folder = self.folder.display().to_string();
        let name: String = words
            .trim_start_matches("generate ")
            .replace(&folder, "")
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let name = name.split('-').filter(|word| !word.is_empty());
        let name = format!("{}.{ending}", name.collect::<Vec<_>>().join("-"));
        let file = self.folder.join(name);
        if file.exists() {
            return Ok(file);
        }
        let unfinished = file.with_extension(format!("unfinished.{ending}"));
        let done = Command::new(&self.program)
            .args(words.split_whitespace())
            .arg("-o")
            .arg(&unfinished)
            .output();
        let done = done.map_err(|why| format!("{}: {why}", self.program.display()))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(format!("kpclass {words}: {}", said.trim()));
        }
        fs::rename(&unfinished, &file).map_err(|why| format!("{}: {why}", file.display()))?;
        Ok(file)
    }
}

/// The same file, packed.
fn packed(plain: &Path, packing: Packing) -> Result<PathBuf, String> {
    let ending = match packing {
        Packing::Gzip => "gz",
        Packing::Zstd => "zst",
    };
    let mut file = plain.to_owned().into_os_string();
    file.push(".");
    file.push(ending);
    let file = PathBuf::from(file);
    if !file.exists() {
        pack(plain, &file, packing).map_err(|why| format!("{}: {why}", file.display()))?;
    }
    Ok(file)
}

fn pack(plain: &Path, file: &Path, packing: Packing) -> io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    let mut from = BufReader::new(File::open(plain)?);
    let to = File::create(&unfinished)?;
    match packing {
        Packing::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(to, flate2::Compression::default());
            io::copy(&mut from, &mut gzip)?;
            gzip.finish()?;
        }
        Packing::Zstd => zstd::stream::copy_encode(from, to, 0)?,
    }
    fs::rename(unfinished, file)
}
