//! The CSV files of the trace as nodes and asks.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::solver::share::{Ask, Capacity, Class, GPUS_MAX, Models, Node, WHOLE};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The head line does not name a column that is needed.
    #[error("line 1: no column {column:?}")]
    NoColumn {
        /// The column.
        column: &'static str,
    },
    /// A cell is missing, no number, or out of range.
    #[error("line {line}, column {column:?}: {value:?} is not {wanted}")]
    Cell {
        /// Line of the file, from 1.
        line: usize,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
}

/// The nodes of a trace, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Names, ascending.
    pub names: Vec<String>,
    /// The same nodes, empty.
    pub nodes: Vec<Node>,
    /// The same by class.
    pub capacity: Capacity,
    /// GPU models; their positions are the numbers that classes and asks have.
    pub models: Vec<String>,
}

impl Cluster {
    /// Thousandths of a GPU in all.
    pub fn milli(&self) -> u64 {
        self.nodes.iter().map(Node::free_milli).sum()
    }
}

/// Published figures of one trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Allocated % when 100 % of capacity has been asked for.
    pub at_100: f64,
    /// The same for 130 %.
    pub at_130: f64,
}

/// Reads a list of nodes: `sn,cpu_milli,memory_mib,gpu,model`.
pub fn parse_nodes(text: &str) -> Result<Cluster, Malformed> {
    let table = Table::new(text);
    let [name, cpu, memory, gpu, model] =
        ["sn", "cpu_milli", "memory_mib", "gpu", "model"].map(|column| table.column(column));
    let (name, cpu, memory, gpu, model) = (name?, cpu?, memory?, gpu?, model?);
    let mut rows: Vec<Row<'_>> = table.rows().collect();
    rows.sort_by_key(|row| row.text(name).map(str::to_owned).unwrap_or_default());
    let mut cluster = Cluster::default();
    for row in rows {
        let gpus: u32 = row.number(gpu)?;
        let is_named = usize::try_from(gpus).is_ok_and(|gpus| gpus <= GPUS_MAX);
        let known = cluster.models.iter().position(|known| Ok(known.as_str()) == row.text(model).as_deref());
        let number = known.unwrap_or(cluster.models.len());
        if known.is_none() {
            cluster.models.push(row.text(model)?.to_owned());
        }
        if !is_named {
            return Err(row.wrong(gpu, "a number up to 64"));
        }
        let class = Class {
            gpus,
            cpu_milli: row.number(cpu)?,
            memory_mib: row.number(memory)?,
            model: u8::try_from(number).map_err(|_| row.wrong(model, "one of at most 64 models"))?,
        };
        cluster.names.push(row.text(name)?.to_owned());
        cluster.nodes.push(Node {
            class: cluster.capacity.add(class),
            free: (0..gpus).map(|_| WHOLE).collect(),
            cpu_milli: class.cpu_milli,
            memory_mib: class.memory_mib,
        });
    }
    Ok(cluster)
}

/// Reads a list of pods: `cpu_milli,memory_mib,num_gpu,gpu_milli` and, where models are asked for, `gpu_spec`.
pub fn parse_pods(text: &str, cluster: &Cluster) -> Result<Vec<Ask>, Malformed> {
    let table = Table::new(text);
    let [cpu, memory, count, milli] =
        ["cpu_milli", "memory_mib", "num_gpu", "gpu_milli"].map(|column| table.column(column));
    let (cpu, memory, count, milli) = (cpu?, memory?, count?, milli?);
    let spec = table.column("gpu_spec").ok();
    let ask = |row: Row<'_>| {
        let gpus: u32 = row.number(count)?;
        let share: u16 = row.number(milli)?;
        if gpus > 0 && !(1..=WHOLE).contains(&share) {
            return Err(row.wrong(milli, "1 to 1000"));
        }
        let accepted = spec.map_or(Ok(""), |spec| row.text(spec))?;
        let number = |name: &str| cluster.models.iter().position(|model| model == name);
        let models = match accepted {
            "" => Models::ANY,
            list => Models::of(list.split('|').filter_map(|name| u8::try_from(number(name)?).ok())),
        };
        Ok(Ask {
            gpus,
            milli: if gpus == 0 { 0 } else { share },
            cpu_milli: row.number(cpu)?,
            memory_mib: row.number(memory)?,
            models,
        })
    };
    table.rows().map(ask).collect()
}

/// Reads published figures by trace: `trace,at_100,at_130`.
pub fn parse_published(text: &str) -> Result<BTreeMap<String, Published>, Malformed> {
    let table = Table::new(text);
    let [name, early, late] = ["trace", "at_100", "at_130"].map(|column| table.column(column));
    let (name, early, late) = (name?, early?, late?);
    let figures = |row: Row<'_>| {
        let published = Published { at_100: row.number(early)?, at_130: row.number(late)? };
        Ok((row.text(name)?.to_owned(), published))
    };
    table.rows().map(figures).collect()
}

struct Table<'a> {
    text: &'a str,
}

#[derive(Clone, Copy)]
struct Column {
    name: &'static str,
    at: usize,
}

#[derive(Clone, Copy)]
struct Row<'a> {
    number: usize,
    line: &'a str,
}

impl<'a> Table<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn column(&self, name: &'static str) -> Result<Column, Malformed> {
        let head = self.text.lines().next().unwrap_or_default();
        let at = head.split(',').position(|column| column.trim() == name);
        Ok(Column { name, at: at.ok_or(Malformed::NoColumn { column: name })? })
    }

    fn rows(&self) -> impl Iterator<Item = Row<'a>> {
        let lines = self.text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(at, line)| Row { number: at + 1, line })
    }
}

impl<'a> Row<'a> {
    fn text(&self, column: Column) -> Result<&'a str, Malformed> {
        let cell = self.line.split(',').nth(column.at).map(str::trim);
        cell.ok_or_else(|| self.cell(column, "", "there"))
    }

    fn number<T: FromStr>(&self, column: Column) -> Result<T, Malformed> {
        self.text(column)?.parse().map_err(|_| self.wrong(column, "a number in range"))
    }

    fn wrong(&self, column: Column, wanted: &'static str) -> Malformed {
        self.cell(column, self.text(column).unwrap_or_default(), wanted)
    }

    fn cell(&self, column: Column, value: &str, wanted: &'static str) -> Malformed {
        Malformed::Cell { line: self.number, column: column.name, value: value.to_owned(), wanted }
    }
}
