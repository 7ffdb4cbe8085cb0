//! TMA copies of boxes: every rank, every swizzle, inside, across each end and outside of a tensor; to one block and to
//! both blocks of a cluster.

use super::case::{InstructionCase, equal};
use crate::{
    Result,
    cuda::{
        Device, TensorMapSpec,
        conformance::{self, Boxed, MULTICAST_COLS},
        tensor_map::{
            Element::{self, Bf16, Byte, F32},
            Swizzle::{self, Bytes32, Bytes64, Bytes128, None},
        },
    },
};

/// Of a box: element and swizzle; extents of the tensor, sides of the box and where it starts, innermost first.
type Row = (
    Element,
    Swizzle,
    &'static [u64],
    &'static [u32],
    &'static [i32],
);

const BOXES: [Row; 11] = [
    (Bf16, Bytes128, &[64, 70], &[64, 64], &[0, 2]),
    (Byte, None, &[300], &[256], &[100]),
    (Byte, None, &[300], &[32], &[-5]),
    (Bf16, Bytes128, &[100, 70], &[64, 64], &[64, -3]),
    (Bf16, Bytes64, &[40, 20], &[32, 16], &[16, 8]),
    (F32, Bytes32, &[9, 20], &[8, 32], &[-1, -1]),
    (Bf16, None, &[40, 20], &[8, 20], &[39, 0]),
    (F32, Bytes128, &[32, 5, 6], &[32, 3, 4], &[0, 3, -2]),
    (
        Bf16,
        Bytes128,
        &[64, 6, 5, 3],
        &[64, 4, 3, 1],
        &[0, -1, 3, 2],
    ),
    (
        Byte,
        Bytes64,
        &[48, 3, 4, 2, 3],
        &[64, 2, 2, 2, 2],
        &[0, 2, 3, 1, -1],
    ),
    (F32, Bytes128, &[8, 8], &[32, 4], &[40, 40]),
];

/// Rows are a multiple of 16 bytes long.
fn boxed(&(element, swizzle, sizes, sides, at): &Row) -> Boxed {
    let mut strides_bytes = Vec::new();
    let mut stride = element.bytes();
    for extent in &sizes[..sizes.len() - 1] {
        stride = (stride * extent).next_multiple_of(16);
        strides_bytes.insert(0, stride);
    }
    Boxed {
        spec: TensorMapSpec {
            address: 0,
            element,
            sizes: sizes.iter().rev().copied().collect(),
            strides_bytes,
            box_sizes: sides.iter().rev().copied().collect(),
            swizzle,
        },
        at: at.into(),
    }
}

/// Expected shared memory after loading a box of the tensor `from`, and expected content of a tensor of 0xff after storing
/// the box with its bits inverted.
fn expected(of: &Boxed, from: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (spec, size) = (&of.spec, of.spec.element.bytes() as usize);
    let (mut raw, mut to) = (vec![0; of.bytes()], vec![0xff; from.len()]);
    let innermost = [spec.element.bytes()];
    for index in 0..of.bytes() / size {
        let (mut rest, mut address, mut inside) = (index, 0, true);
        let strides = innermost.iter().chain(spec.strides_bytes.iter().rev());
        let axes = spec.sizes.iter().zip(&spec.box_sizes).rev();
        for ((stride, (&extent, &side)), start) in strides.zip(axes).zip(&of.at) {
            let place = i64::from(*start) + (rest % side as usize) as i64;
            rest /= side as usize;
            inside &= (0..extent as i64).contains(&place);
            address += place * *stride as i64;
        }
        if !inside {
            continue;
        }
        let (address, offset) = (address as usize, index * size);
        // The swizzle permutes 16-byte chunks within lines of 128 bytes by the line number.
        let pieces = match spec.swizzle {
            Swizzle::None => 1,
            Bytes32 => 2,
            Bytes64 => 4,
            Bytes128 => 8,
        };
        let swizzled = offset ^ (offset / 128 % pieces * 16);
        let element = &from[address..][..size];
        raw[swizzled..][..size].copy_from_slice(element);
        for (to, from) in to[address..].iter_mut().zip(element) {
            *to = !from;
        }
    }
    (raw, to)
}

pub(super) fn cases() -> Vec<InstructionCase> {
    let mut cases = Vec::new();
    for row in &BOXES {
        let (element, swizzle, sizes, sides, at) = row;
        let name = format!("{sides:?} at {at:?} of {element:?} {sizes:?}, swizzle {swizzle:?}");
        let of = boxed(row);
        let from: Vec<u8> = (0..of.tensor_bytes())
            .map(|i| (i * 7 + i / 251) as u8)
            .collect();
        let (raw, to) = expected(&of, &from);
        if (2..=4).contains(&sizes.len()) {
            let (of, from, both) = (of.clone(), from.clone(), raw.repeat(2));
            cases.push(InstructionCase::new(
                format!("shared boxes/{name}"),
                move |device| {
                    let got = conformance::share_box(device, &of, &from)?;
                    equal("bytes in shared memory", &got, &both)
                },
            ));
        }
        cases.push(InstructionCase::new(
            format!("boxes/{name}"),
            move |device| {
                let (got_raw, got_to) = conformance::copy_box(device, &of, &from)?;
                equal("bytes in shared memory", &got_raw, &raw)?;
                equal("bytes stored", &got_to, &to)
            },
        ));
    }
    cases.push(InstructionCase::new(
        "clusters/two blocks share their loads",
        shared_rows,
    ));
    cases
}

fn shared_rows(device: &dyn Device) -> Result<()> {
    const ROUNDS: usize = 10;
    let x: Vec<f32> = (0..ROUNDS * MULTICAST_COLS)
        .map(|i| (i * 37 % 101) as f32)
        .collect();
    let sum = |col: usize| x.iter().skip(col).step_by(MULTICAST_COLS).sum::<f32>();
    let sums: Vec<f32> = (0..MULTICAST_COLS).map(sum).collect();
    let want: Vec<f32> = (1..=2)
        .flat_map(|times| sums.iter().map(move |sum| times as f32 * sum))
        .collect();
    equal("numbers", &conformance::multicast(device, &x)?, &want)
}
