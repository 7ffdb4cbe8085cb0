//! `gallop dev bench --kernels`: each kernel of a GPU alone, against the chip's peak.

use std::sync::Arc;

use serde_json::json;

use super::{device::open_gpu, gemm, terminal, words};
use crate::{
    Error, Result,
    device::{self, Device as _},
    error::Field,
    executor::Cancel,
    inspect::rates::{self, PUBLISHED, Rate, RateTarget},
};

/// Times the cases whose name contains `filter` on `device`.
pub(super) fn run(filter: &str, device: &str, as_json: bool, cancel: &Cancel) -> Result<()> {
    let driver = open_gpu(device)?;
    let library = device::open_gemm_library(&driver, &gemm::files());
    if !as_json {
        let beside = library.as_ref().err().map(ToString::to_string);
        terminal::print(&format!("{}\n{}", head(&driver.name(), beside), COLUMNS))?;
    }
    let target = RateTarget {
        device: Arc::clone(&driver) as _,
        library: library.ok(),
    };
    let (mut measured, mut failed) = (0, 0);
    rates::measure(&target, &PUBLISHED, filter, cancel, &mut |name, rate| {
        measured += 1;
        failed += usize::from(rate.is_err());
        if as_json {
            return terminal::print(&format!("{}\n", document(name, rate)));
        }
        terminal::print(&match rate {
            Ok(rate) => text(&rate),
            Err(error) => format!("{name:64} {}\n", words::error(&error)),
        })
    })?;
    if measured == 0 {
        let error = Error::request(Field::Filter, "must be part of a case's name");
        return Err(error.found(format!("`{filter}`")));
    }
    terminal::verdict(failed, measured, "cases failed")
}

const COLUMNS: &str = "case                                                                 time   floor  TFLOP/s    TB/s\n";

fn head(device: &str, without: Option<String>) -> String {
    match without {
        None => format!("{device}, middle of up to {} runs", PUBLISHED.runs),
        Some(why) => format!("{device}, without cuBLASLt: {why}"),
    }
}

fn text(rate: &Rate) -> String {
    let seconds = rate.median_ms / 1e3;
    format!(
        "{:64} {:>6.3} ms {:>4.0} % {:>8.1} {:>7.2}\n",
        rate.name,
        rate.median_ms,
        100.0 * rate.floor_ms / rate.median_ms,
        rate.flops / seconds / 1e12,
        rate.bytes / seconds / 1e12
    )
}

fn document(name: &str, rate: Result<Rate>) -> serde_json::Value {
    match rate {
        Ok(rate) => json!(rate),
        Err(error) => json!({ "case": name, "problem": words::error(&error) }),
    }
}
