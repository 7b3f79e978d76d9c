//! Verdicts as a Parquet file: columns of text and of 64-bit numbers, each of which may be null.

use crate::render::verdicts::{Cell, VerdictRow};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Rows that are kept before they are written as one row group.
const GROUP: usize = 1 << 16;

/// A Parquet file that is being written.
pub(super) struct ParquetRows {
    writer: SerializedFileWriter<File>,
    columns: Vec<Column>,
    rows: usize,
}

/// The rows of a column that are not written yet. A level says whether a row has a value.
enum Column {
    Text {
        values: Vec<ByteArray>,
        levels: Vec<i16>,
    },
    Number {
        values: Vec<i64>,
        levels: Vec<i16>,
    },
}

impl ParquetRows {
    /// Begins a file.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let columns = columns();
        let schema = parse_message_type(&schema(&columns)).map_err(plain)?;
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default());
        Ok(Self {
            writer: writer.map_err(plain)?,
            columns,
            rows: 0,
        })
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: VerdictRow) -> io::Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(row.cells()) {
            column.push(cell);
        }
        self.rows += 1;
        if self.rows == GROUP {
            self.write_group().map_err(plain)
        } else {
            Ok(())
        }
    }

    /// Writes what is left, and the footer.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.write_group().map_err(plain)?;
        }
        self.writer.close().map(|_| ()).map_err(plain)
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            if let Some(writer) = group.next_column()? {
                column.write(writer)?;
            }
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

/// Empty columns, of the kinds that rows have.
fn columns() -> Vec<Column> {
    let empty = |cell: &Cell| match cell {
        Cell::Text(_) => Column::Text {
            values: Vec::new(),
            levels: Vec::new(),
        },
        Cell::Number(_) => Column::Number {
            values: Vec::new(),
            levels: Vec::new(),
        },
    };
    VerdictRow::default().cells().iter().map(empty).collect()
}

fn schema(columns: &[Column]) -> String {
    let line = |(column, name): (&Column, &&str)| match column {
        Column::Text { .. } => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
        Column::Number { .. } => format!("OPTIONAL INT64 {name};"),
    };
    let lines: String = columns.iter().zip(&VerdictRow::COLUMNS).map(line).collect();
    format!("message verdict {{ {lines} }}")
}

impl Column {
    fn push(&mut self, cell: Cell) {
        match (self, cell) {
            (Self::Text { values, levels }, Cell::Text(text)) => {
                levels.push(i16::from(text.is_some()));
                values.extend(text.map(|text| ByteArray::from(text.into_bytes())));
            }
            (Self::Number { values, levels }, Cell::Number(number)) => {
                levels.push(i16::from(number.is_some()));
                // Times fit until the year 2262.
                values.extend(number.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
            }
            // Rows have one kind of cell in a column; a null would keep the file whole.
            (Self::Text { levels, .. } | Self::Number { levels, .. }, _) => levels.push(0),
        }
    }

    /// Writes what is kept, and forgets it.
    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<()> {
        match self {
            Self::Text { values, levels } => {
                writer
                    .typed::<ByteArrayType>()
                    .write_batch(values, Some(levels), None)?;
                values.clear();
                levels.clear();
            }
            Self::Number { values, levels } => {
                writer
                    .typed::<Int64Type>()
                    .write_batch(values, Some(levels), None)?;
                values.clear();
                levels.clear();
            }
        }
        writer.close()
    }
}

/// The system's error, where it is one.
fn plain(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    #[test]
    fn rows_read_back_as_they_were_written() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut rows = ParquetRows::new(path.reopen().unwrap()).unwrap();
        let count = GROUP as u64 + 3;
        for frame in 1..=count {
            let service = (frame % 2 == 0).then(|| format!("ns/{frame}"));
            rows.push(VerdictRow {
                frame,
                service,
                ..VerdictRow::default()
            })
            .unwrap();
        }
        rows.finish().unwrap();
        let reader = SerializedFileReader::new(path.reopen().unwrap()).unwrap();
        assert_eq!(reader.metadata().num_row_groups(), 2);
        let mut read = 0u64;
        for row in reader.into_iter() {
            let row = row.unwrap().to_string();
            read += 1;
            assert!(row.contains(&format!("frame: {read},")), "{row}");
            let service = if read.is_multiple_of(2) {
                format!("service: \"ns/{read}\"")
            } else {
                "service: null".into()
            };
            assert!(row.contains(&service), "{row}");
        }
        assert_eq!(read, count);
    }
}
