//! Files that change while they are read.

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use gallop::{
    DType, Tensor,
    cpu::Cpu,
    executor::{Executor, Prepare},
    plan::Builder,
    weights::{Quantized, Safetensors, Source, TorchFile, Weights},
};

use crate::{
    scratch::{Scratch, assert_says, refusal, vectors},
    torch_writer::{Pickle, torch_file, vector},
};

const COUNT: usize = 1 << 20;

/// A file of ones, the tensor `w`, written long enough ago for a change to be seen in its time.
fn ones(scratch: &Scratch, name: &str, is_torch: bool) -> PathBuf {
    let values = vec![1.0; COUNT];
    let bytes = match is_torch {
        false => vectors(&[("w", &values)]),
        true => {
            let sizes = [COUNT as i64];
            let mut pickle = Pickle::new();
            pickle.state_dict(&[("w", vector("0", &sizes))]);
            torch_file(&pickle.stop(), &[&values])
        }
    };
    let path = scratch.file(name, &bytes);
    thread::sleep(Duration::from_millis(30));
    path
}

fn open(path: &Path, is_torch: bool) -> Box<dyn Source> {
    match is_torch {
        false => Box::new(Safetensors::open(path).unwrap()),
        true => Box::new(TorchFile::open(path, None).unwrap()),
    }
}

fn cut(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1 << 20).unwrap();
}

fn write_into(path: &Path) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(2 << 20)).unwrap();
    file.write_all(&[0; 64]).unwrap();
}

#[test]
fn files_that_change_are_named_and_those_that_are_replaced_stay() {
    let scratch = Scratch::new("changes");
    for is_torch in [false, true] {
        for (change, what) in [(cut as fn(&Path), "cut"), (write_into, "written")] {
            let path = ones(&scratch, what, is_torch);
            let source = open(&path, is_torch);
            source.check_unchanged().unwrap();
            let tensor = source.load("w").unwrap();
            assert_eq!(tensor.to_f32()[..3], [1.0; 3]);
            change(&path);
            // What is gone reads as zeros rather than ending the program.
            assert!(tensor.to_f32().contains(&0.0));
            assert_says(&refusal(source.check_unchanged()), &[what, "changed while"]);
        }
        let path = ones(&scratch, "replaced", is_torch);
        let source = open(&path, is_torch);
        let other = ones(&scratch, "other", is_torch);
        fs::rename(other, &path).unwrap();
        source.check_unchanged().unwrap();
        assert!(!source.load("w").unwrap().to_f32().contains(&0.0));
    }
}

#[test]
fn many_files_can_be_cut_at_once_and_a_place_is_free_again() {
    let scratch = Scratch::new("many");
    for _ in 0..3 {
        let paths: Vec<PathBuf> = (0..8)
            .map(|i| ones(&scratch, &i.to_string(), false))
            .collect();
        let sources: Vec<_> = paths.iter().map(|path| open(path, false)).collect();
        paths.iter().step_by(2).for_each(|path| cut(path));
        thread::scope(|scope| {
            for source in &sources {
                scope.spawn(|| source.load("w").unwrap().to_f32().len());
            }
        });
        for (i, source) in sources.iter().enumerate() {
            assert_eq!(source.check_unchanged().is_err(), i % 2 == 0, "{i}");
        }
    }
}

#[test]
fn a_run_on_weights_that_change_is_no_result() {
    let scratch = Scratch::new("run-changes");
    let mut p = Builder::new();
    let x = p.input("x", [COUNT], DType::F32);
    let w = p.weight("w", [COUNT], DType::F32);
    let y = p.affine("y", x, [w, w], DType::F32);
    p.output(y);
    let plan = p.finish();
    let path = ones(&scratch, "m", false);
    let source: Box<dyn Source> = Box::new(Safetensors::open(&path).unwrap());
    // Through everything that may lie between a file and who reads it.
    let source = Quantized::new(source.into(), [].into());
    let weights = Weights::new(Box::new(source));
    let mut program = Cpu
        .load_and_prepare(&plan, &weights, &Prepare::default())
        .unwrap();
    program
        .write(x, &Tensor::zeros([COUNT], DType::F32))
        .unwrap();
    program.run().unwrap();
    assert_eq!(program.report().runs, 1);
    write_into(&path);
    assert_says(&refusal(program.run()), &["/m: changed while it was read"]);
    assert_eq!(program.report().runs, 1);
    let again = Cpu.load_and_prepare(&plan, &weights, &Prepare::default());
    assert_says(&refusal(again.map(|_| ())), &["changed while"]);
}
