//! The generated stubs, packed and launched on a device that only writes down what it is given.

#![allow(
    unsafe_code,
    reason = "launches, and reads through the argument pointers"
)]

use std::{ops::Range, sync::Mutex};

use gallop::{
    DType, Error, Result,
    cuda::{
        Device, E4m3, Launch, Memory, TensorMap, TensorMapSpec,
        arguments::{AnyDev, Arg, Arguments, Dev, DevMut, Entry, pointers},
        device::{Event, Graph, Pinned, SHARED_BYTES_MAX, Stream},
        params::{GemmTile, RowScales},
        tensor_map::Element,
    },
};

use super::generated::example::{FILL, FILL_WIDE_F32, FillArgs, ScaleBf16, ScaleE4m3, THREADS};

/// Keeps launches as text; its memory is host memory.
#[derive(Default)]
struct Notebook(Mutex<Vec<String>>);

impl Notebook {
    fn note(&self, line: String) -> Result<()> {
        self.0.lock().unwrap().push(line);
        Ok(())
    }
}

/// Owns the bytes of a [`Memory`].
struct Bytes(Vec<u8>);

impl Device for Notebook {
    fn name(&self) -> String {
        "notebook".into()
    }

    fn capability(&self) -> (u32, u32) {
        (9, 0)
    }

    fn num_sms(&self) -> u32 {
        1
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(1 << 20)
    }

    fn alloc(&self, bytes: usize, for_what: &str) -> Result<Memory> {
        if bytes > 1 << 20 {
            return Err(Error::Memory {
                need_bytes: bytes as u64,
                have_bytes: 1 << 20,
                for_what: for_what.into(),
                hint: None,
            });
        }
        let owner = Bytes(vec![0; bytes + 256]);
        let address = (owner.0.as_ptr() as u64).next_multiple_of(256);
        // SAFETY: `owner` holds 256 bytes more than are handed out from the next multiple of 256.
        Ok(unsafe { Memory::new(address, bytes, owner) })
    }

    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn Pinned>> {
        Ok(Box::new(vec![0; bytes]))
    }

    fn fill(&self, to: &Memory, part: Range<usize>, value: u8) -> Result<()> {
        self.note(format!("fill {:#x} {value}", to.address(part)))
    }

    fn h2d(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.note(format!(
            "copy in {:#x}",
            to.address(offset..offset + from.len())
        ))
    }

    fn d2h(&self, from: &Memory, offset: usize, to: &mut [u8]) -> Result<()> {
        self.note(format!(
            "copy out {:#x}",
            from.address(offset..offset + to.len())
        ))
    }

    unsafe fn h2d_async(&self, to: &Memory, offset: usize, from: &[u8]) -> Result<()> {
        self.h2d(to, offset, from)
    }

    fn tensor_map(&self, spec: &TensorMapSpec) -> Result<TensorMap> {
        spec.check()?;
        let mut map = TensorMap([0; 128]);
        map.0[..8].copy_from_slice(&spec.address.to_le_bytes());
        Ok(map)
    }

    unsafe fn launch(&self, launch: &Launch) -> Result<()> {
        self.note(format!("{launch}: {:?}", launch.args().len()))
    }

    fn event(&self) -> Result<Event> {
        Ok(Event::new(7_u8))
    }

    fn record(&self, event: &Event, queue: Stream) -> Result<()> {
        self.note(format!("record {} {queue:?}", event.of::<u8>()?))
    }

    fn wait(&self, queue: Stream, event: &Event) -> Result<()> {
        self.note(format!("wait {} {queue:?}", event.of::<u8>()?))
    }

    fn finish(&self, event: &Event) -> Result<()> {
        event.of::<u8>().map(|_| ())
    }

    fn elapsed_ms(&self, from: &Event, to: &Event) -> Result<f32> {
        Ok(f32::from(to.of::<u8>()? - from.of::<u8>()?))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn capture(&self, _work: &mut dyn FnMut() -> Result<()>) -> Result<Option<Graph>> {
        Ok(None)
    }

    unsafe fn replay(&self, graph: &Graph) -> Result<()> {
        graph.of::<u8>().map(|_| ())
    }
}

fn scale(map_x: TensorMap) -> ScaleBf16 {
    ScaleBf16 {
        y: DevMut::new(0x1000),
        map_x,
        tiles: Dev::new(0x2000),
        count: -(1 << 40),
        rows: -3,
        by: 0.5,
    }
}

#[test]
fn arguments_arrive_in_the_kernels_order_type_and_alignment() {
    let mut map = TensorMap([0; 128]);
    map.0[127] = 9;
    let args = scale(map).args();
    assert_eq!(
        args,
        [
            Arg::Address(0x1000),
            Arg::Map(Box::new(map)),
            Arg::Address(0x2000),
            Arg::Long(-(1 << 40)),
            Arg::Int(-3),
            Arg::Float(0.5)
        ]
    );
    let pointers = pointers(&args);
    assert_eq!(pointers.len(), 6);
    assert!(pointers[1].cast::<TensorMap>().is_aligned());
    // SAFETY: each points to a value of the kernel's type in `args`, which lives on.
    assert_eq!(unsafe { pointers[0].cast::<u64>().read() }, 0x1000);
    // SAFETY: as above.
    assert_eq!(unsafe { pointers[1].cast::<TensorMap>().read() }, map);
    // SAFETY: as above.
    assert_eq!(unsafe { pointers[3].cast::<i64>().read() }, -(1 << 40));
    // SAFETY: as above.
    assert_eq!(unsafe { pointers[4].cast::<i32>().read() }, -3);
    // SAFETY: as above.
    assert_eq!(unsafe { pointers[5].cast::<f32>().read() }, 0.5);
}

#[test]
fn an_entry_point_is_found_by_the_types_of_its_arguments() {
    let scales = RowScales { step: 3, all: 0.5 };
    let args = |dtype| FillArgs {
        y: AnyDev::new(0x1000, dtype),
        x: Dev::new(0x2000),
        scales,
        rows: 4,
        pitch: 5,
    };
    let name = |all, dtype| {
        let launch = Launch::one_of(all, &args(dtype), [1, 1, 1], 0).unwrap();
        launch.map(|launch| launch.kernel().name)
    };
    assert_eq!(name(FILL, DType::Bf16), Some("fill_bf16"));
    assert_eq!(name(FILL, DType::E4m3), Some("fill_e4m3"));
    assert_eq!(name(FILL, DType::F32), None);
    assert_eq!(name(FILL_WIDE_F32, DType::F32), Some("fill_wide_f32"));
    let args = args(DType::Bf16).args();
    assert_eq!(args[0], Arg::Address(0x1000));
    // SAFETY: it points to the structure in `args`, which lives on.
    let read = unsafe { pointers(&args)[2].cast::<RowScales>().read() };
    assert_eq!(read, scales);
}

#[test]
fn what_no_gpu_could_launch_is_refused_with_the_numbers() {
    let launch = |blocks, shared| {
        let entry = ScaleE4m3 {
            y: DevMut::<E4m3>::new(0),
            x: Dev::new(0),
        };
        Launch::new(&entry, blocks, shared)
            .map(|launch| launch.to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        launch([8, 1, 1], SHARED_BYTES_MAX).unwrap(),
        "scale_e4m3 (grid 8)"
    );
    assert_eq!(launch([8, 2, 1], 0).unwrap(), "scale_e4m3 (grid 8 x 2 x 1)");
    assert_eq!(
        launch([3, 1, 1], 0).unwrap_err(),
        "`scale_e4m3` cannot run on a grid of 3 x 1 x 1: x must be a multiple of the cluster, 2"
    );
    for blocks in [[0, 1, 1], [1 << 31, 1, 1], [2, 1 << 16, 1], [2, 1, 0]] {
        assert!(
            launch(blocks, 0).unwrap_err().contains("grids are 1 to"),
            "{blocks:?}"
        );
    }
    assert!(
        launch([2, 1, 1], SHARED_BYTES_MAX + 1)
            .unwrap_err()
            .contains("232449 bytes of shared memory")
    );
}

#[test]
fn a_device_can_be_driven_through_the_trait_alone() -> Result<()> {
    let notebook = Notebook::default();
    let device: &dyn Device = &notebook;
    let memory = device.alloc(4096, "a test")?;
    let spec = TensorMapSpec::matrix(
        memory.address(1024..3072),
        Element::Bf16,
        [16, 64],
        64,
        [16, 64],
    );
    let entry = ScaleBf16 {
        y: memory.dev_mut(0, 512),
        tiles: memory.dev::<GemmTile>(3072, 4),
        ..scale(device.tensor_map(&spec)?)
    };
    let launch = Launch::new(&entry, [512_u32.div_ceil(THREADS as u32), 1, 1], 0)?;
    let event = device.event()?;
    device.record(&event, Stream::Copy)?;
    device.wait(Stream::Compute, &event)?;
    // SAFETY: nothing runs on this device.
    unsafe { device.launch(&launch) }?;
    assert_eq!(
        *notebook.0.lock().unwrap(),
        ["record 7 Copy", "wait 7 Compute", "scale_bf16 (grid 2): 6"]
    );
    assert_eq!(
        device.alloc(1 << 21, "a test").err().map(|e| e.exit_code()),
        Some(5)
    );
    let graph = device.capture(&mut || panic!("there are no graphs"))?;
    assert!(graph.is_none());
    Ok(())
}

#[test]
fn handles_of_another_device_are_refused() {
    let foreign = Event::new("elsewhere");
    let error = Notebook::default().finish(&foreign).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a handle of one device was given to another"
    );
}

#[test]
#[should_panic(expected = "is not inside 64 bytes")]
fn a_part_behind_the_end_of_memory_is_our_mistake() {
    let memory = Notebook::default().alloc(64, "a test").unwrap();
    memory.dev::<f32>(usize::MAX, 2);
}

#[test]
#[should_panic(expected = "offset 8 is not aligned")]
fn an_unaligned_structure_is_our_mistake() {
    let memory = Notebook::default().alloc(64, "a test").unwrap();
    memory.dev::<GemmTile>(8, 1);
}
