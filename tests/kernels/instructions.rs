//! The emulated instructions themselves, against formulas written here a second time. The kernels are meant to run on
//! a GPU unchanged, where they show whether the emulator is right.

use gallop::{DType, Tensor};

use crate::{
    SEEDS,
    emulate::{
        Arg, Emulator, Launch,
        MapType::{self, Bf16, F32, U8},
        Memory, Run, Swizzle, each_run,
    },
    random::Random,
};

const SMEM_BYTES: u32 = 65_536;

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: &[T], want: &[T]) -> Result<(), String> {
    assert_eq!(got.len(), want.len(), "{what}");
    match got.iter().zip(want).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{what}: [{at}] is {:?}, expected {:?}",
            got[at], want[at]
        )),
    }
}

/// A box of a tensor, extents innermost first.
pub(crate) struct Copy {
    map: (MapType, usize),
    swizzle: Swizzle,
    dims: &'static [u64],
    sides: &'static [u32],
    at: &'static [i32],
}

impl Copy {
    /// Bytes from one index to the next, per dimension; rows are a multiple of 16 bytes long.
    fn strides(&self) -> Vec<u64> {
        let mut strides = vec![self.map.1 as u64];
        for (d, &extent) in self.dims.iter().enumerate().take(self.dims.len() - 1) {
            strides.push((strides[d] * extent).next_multiple_of(16));
        }
        strides
    }

    /// What shared memory and the destination hold in the end.
    fn expected(&self, from: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let count: u32 = self.sides.iter().product();
        let size = self.map.1;
        let (mut raw, mut to) = (vec![0; count as usize * size], vec![0xff; from.len()]);
        for index in 0..count as usize {
            let (mut rest, mut address, mut inside) = (index, 0, true);
            for (d, stride) in self.strides().iter().enumerate() {
                let side = self.sides[d] as usize;
                let place = i64::from(self.at[d]) + (rest % side) as i64;
                rest /= side;
                inside &= (0..self.dims[d] as i64).contains(&place);
                address += place * *stride as i64;
            }
            if !inside {
                continue;
            }
            let (address, offset) = (address as usize, index * size);
            // 16-byte pieces are exchanged within lines of 128 bytes by the number of the line.
            let pieces = match self.swizzle {
                Swizzle::None => 1,
                Swizzle::B32 => 2,
                Swizzle::B64 => 4,
                Swizzle::B128 => 8,
            };
            let swizzled = offset ^ (offset / 128 % pieces * 16);
            raw[swizzled..][..size].copy_from_slice(&from[address..][..size]);
            to[address..][..size].copy_from_slice(&from[address..][..size]);
        }
        (raw, to)
    }

    pub(crate) fn prepare(&self) -> PreparedCopy<'_> {
        let strides = self.strides();
        let bytes = (strides[strides.len() - 1] * self.dims[self.dims.len() - 1]) as usize;
        let content: Vec<u8> = (0..bytes).map(|i| (i * 7 + i / 251) as u8).collect();
        let (raw, to) = self.expected(&content);
        PreparedCopy {
            copy: self,
            from: Memory::of_bytes(&content),
            at: Memory::of_ints(self.at),
            raw,
            to,
        }
    }
}

/// A box with its tensor in memory, and what should come of it.
pub(crate) struct PreparedCopy<'a> {
    copy: &'a Copy,
    from: Memory,
    at: Memory,
    raw: Vec<u8>,
    to: Vec<u8>,
}

impl PreparedCopy<'_> {
    pub(crate) fn check(&self, emulator: &Emulator, run: Run) -> Result<(), String> {
        let copy = self.copy;
        let (raw, to) = (
            Memory::poisoned(self.raw.len()),
            Memory::poisoned(self.to.len()),
        );
        let map = |memory: &Memory| {
            let tensor = (copy.map.0, memory.address());
            let strides = &copy.strides()[1..];
            emulator.tensor_map(tensor, copy.dims, strides, copy.sides, copy.swizzle)
        };
        let args = [
            Arg::Pointer(raw.address()),
            Arg::Map(map(&to)?),
            Arg::Map(map(&self.from)?),
            Arg::Pointer(self.at.address()),
            Arg::int(self.raw.len()),
        ];
        let launch = Launch {
            smem: SMEM_BYTES,
            ..Launch::new(1, 128)
        };
        let kernel = format!("copy_box_{}d", copy.dims.len());
        emulator.launch(&kernel, &launch, run, &args)?;
        equal("wrong bytes in shared memory", &raw.bytes()?, &self.raw)?;
        equal("wrong bytes stored", &to.bytes()?, &self.to)
    }
}

/// A box of two dimensions, all of it inside.
pub(crate) fn plain_box() -> Copy {
    Copy {
        map: (MapType::Bf16, 2),
        swizzle: Swizzle::B128,
        dims: &[64, 70],
        sides: &[64, 64],
        at: &[0, 2],
    }
}

const fn copied(
    map: (MapType, usize),
    swizzle: Swizzle,
    dims: &'static [u64],
    sides: &'static [u32],
    at: &'static [i32],
) -> Copy {
    Copy {
        map,
        swizzle,
        dims,
        sides,
        at,
    }
}

/// Boxes of every rank under every swizzle: inside, across each end, and outside.
const BOXES: [Copy; 10] = [
    copied((U8, 1), Swizzle::None, &[300], &[256], &[100]),
    copied((U8, 1), Swizzle::None, &[300], &[32], &[-5]),
    copied((Bf16, 2), Swizzle::B128, &[100, 70], &[64, 64], &[64, -3]),
    copied((Bf16, 2), Swizzle::B64, &[40, 20], &[32, 16], &[16, 8]),
    copied((F32, 4), Swizzle::B32, &[9, 20], &[8, 32], &[-1, -1]),
    copied((Bf16, 2), Swizzle::None, &[40, 20], &[8, 20], &[39, 0]),
    copied(
        (F32, 4),
        Swizzle::B128,
        &[32, 5, 6],
        &[32, 3, 4],
        &[0, 3, -2],
    ),
    copied(
        (Bf16, 2),
        Swizzle::B128,
        &[64, 6, 5, 3],
        &[64, 4, 3, 1],
        &[0, -1, 3, 2],
    ),
    copied(
        (U8, 1),
        Swizzle::B64,
        &[48, 3, 4, 2, 3],
        &[64, 2, 2, 2, 2],
        &[0, 2, 3, 1, -1],
    ),
    copied((F32, 4), Swizzle::B128, &[8, 8], &[32, 4], &[40, 40]),
];

#[test]
fn boxes_of_every_rank_and_swizzle_arrive_and_return() {
    for case in &BOXES {
        let prepared = case.prepare();
        each_run(SEEDS, |run| prepared.check(Emulator::load(), run));
    }
}

#[test]
fn tensor_maps_that_the_driver_would_refuse_are_refused() {
    let memory = Memory::poisoned(65_536);
    let encode = |offset: u64, dims: &[u64], strides: &[u64], sides: &[u32], swizzle| {
        let tensor = (MapType::Bf16, memory.address() + offset);
        Emulator::load()
            .tensor_map(tensor, dims, strides, sides, swizzle)
            .map(|_| ())
    };
    encode(0, &[64, 64], &[128], &[64, 64], Swizzle::B128).unwrap();
    for (problem, result) in [
        (
            "aligned",
            encode(8, &[64, 64], &[128], &[64, 64], Swizzle::B128),
        ),
        (
            "multiple of 16 bytes below",
            encode(0, &[64, 64], &[136], &[64, 64], Swizzle::B128),
        ),
        (
            "wider than the swizzle",
            encode(0, &[256, 64], &[512], &[128, 64], Swizzle::B128),
        ),
        (
            "wider than the swizzle",
            encode(0, &[64, 64], &[128], &[64, 64], Swizzle::B64),
        ),
        (
            "1 to 256",
            encode(0, &[64, 512], &[128], &[64, 257], Swizzle::None),
        ),
        (
            "row of the box",
            encode(0, &[64, 64], &[128], &[4, 64], Swizzle::None),
        ),
        (
            "extent",
            encode(0, &[64, 0], &[128], &[64, 64], Swizzle::None),
        ),
    ] {
        let message = result.unwrap_err();
        assert!(message.contains(problem), "{message}, expected {problem}");
    }
}

/// Four 8x8 matrices as ldmatrix takes and stmatrix leaves them; a transpose is within each.
#[test]
fn matrices_are_loaded_and_stored_with_and_without_transpose() {
    let values: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let x = Memory::of(&Tensor::from_f32([256], &values).cast(DType::Bf16));
    let mut want = Vec::new();
    for mode in 0..4 {
        for i in 0..256 {
            let (row, col) = (i / 16, i % 16);
            let once = row / 8 * 128 + col / 8 * 8 + col % 8 * 16 + row % 8;
            want.push(values[if mode == 1 || mode == 2 { once } else { i }]);
        }
    }
    each_run(SEEDS, |run| {
        let y = Memory::poisoned(4 * 256 * 2);
        let args = [Arg::Pointer(y.address()), Arg::Pointer(x.address())];
        Emulator::load().launch("transposes", &Launch::new(1, 32), run, &args)?;
        equal("element", &y.tensor([4, 256], DType::Bf16)?.to_f32(), &want)
    });
}

pub(crate) fn check_lanes(emulator: &Emulator, run: Run) -> Result<(), String> {
    let x: Vec<i32> = (0..32).map(|i| i * 3 - 40).collect();
    let get = |lane: i32| x[lane as usize];
    let positive = (0..32)
        .filter(|&lane| get(lane) > 0)
        .fold(0_u32, |bits, lane| bits | 1 << lane);
    let rows: [&dyn Fn(i32) -> i32; 8] = [
        &|lane| get(31 - lane),
        &|lane| get(lane ^ 5),
        &|lane| get(if lane + 3 < 32 { lane + 3 } else { lane }),
        &|lane| get(if lane % 8 >= 3 { lane - 3 } else { lane }),
        &|_| positive.cast_signed(),
        &|_| 1,
        &|_| 0,
        &|lane| get(if lane < 16 { lane ^ 1 } else { lane }),
    ];
    let want: Vec<i32> = rows.iter().flat_map(|row| (0..32).map(row)).collect();
    let (x, y) = (Memory::of_ints(&x), Memory::poisoned(8 * 32 * 4));
    let args = [Arg::Pointer(y.address()), Arg::Pointer(x.address())];
    emulator.launch("lanes", &Launch::new(1, 32), run, &args)?;
    equal("wrong numbers", &y.ints()?, &want)
}

#[test]
fn lanes_exchange_numbers_and_votes() {
    each_run(SEEDS, |run| check_lanes(Emulator::load(), run));
}

pub(crate) fn check_chain(emulator: &Emulator, run: Run) -> Result<(), String> {
    let y = Memory::of_ints(&[0; 5]);
    let args = [Arg::Pointer(y.address())];
    emulator.launch("chain", &Launch::new(1, 128), run, &args)?;
    equal("wrong numbers", &y.ints()?, &[128, 10, 11, 12, 13])
}

#[test]
fn named_barriers_order_warps() {
    each_run(SEEDS, |run| check_chain(Emulator::load(), run));
}

/// The value of an e4m3 byte, from the definition of the format.
fn from_e4m3(byte: u8) -> f32 {
    let (sign, exponent, fraction) = (byte >> 7, i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let size = match exponent {
        15 if byte & 7 == 7 => f32::NAN,
        0 => fraction / 8.0 * 2.0_f32.powi(-6),
        _ => (1.0 + fraction / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if sign == 1 { -size } else { size }
}

#[test]
fn small_floats_round_to_nearest_even_and_saturate() {
    // Every positive e4m3 value, the middles between neighbours, both sides of each middle, and extremes.
    let grid: Vec<f32> = (0..127).map(from_e4m3).collect();
    let mut x = grid.clone();
    for pair in grid.windows(2) {
        let middle = f32::midpoint(pair[0], pair[1]);
        x.extend([middle, middle.next_down(), middle.next_up()]);
    }
    x.extend([
        448.0,
        460.0,
        1e30,
        f32::INFINITY,
        1.003_906_3,
        1.011_718_8,
        f32::MIN_POSITIVE,
    ]);
    x.extend(Random::new(5).values(200));
    let nearest = |v: f32| {
        // `min_by` takes the first of equals, so the even one is put first.
        let mut bytes: Vec<u8> = (0..127).collect();
        bytes.sort_by_key(|byte| byte & 1);
        let distance = |byte: u8| (f64::from(from_e4m3(byte)) - f64::from(v).min(448.0)).abs();
        bytes
            .into_iter()
            .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
            .unwrap()
    };
    let memory = Memory::of(&Tensor::from_f32([x.len()], &x));
    let (pairs, back) = (Memory::poisoned(x.len() * 8), Memory::poisoned(x.len() * 8));
    let addresses = [&pairs, &back, &memory].map(|m| Arg::Pointer(m.address()));
    let args = [&addresses[..], &[Arg::int(x.len())]].concat();
    each_run(1, |run| {
        Emulator::load().launch("conversions", &Launch::new(1, 128), run, &args)
    });
    let (pairs, back) = (pairs.ints().unwrap(), back.floats().unwrap());
    for (i, &v) in x.iter().enumerate() {
        let byte = nearest(v.abs());
        let signed =
            |bits: u32, sign: u32, negative: bool| if negative { bits | sign } else { bits };
        let low = signed(byte.into(), 0x80, v.is_sign_negative());
        let high = signed(byte.into(), 0x80, v.is_sign_positive());
        assert_eq!(
            pairs[x.len() + i].cast_unsigned(),
            low | high << 8,
            "e4m3 of {v}"
        );
        assert_eq!(back[x.len() + i], from_e4m3(low as u8), "e4m3 of {v}");
        let bf16 = half::bf16::from_f32(v);
        let both = u32::from(bf16.to_bits()) | u32::from((-bf16).to_bits()) << 16;
        assert_eq!(pairs[i].cast_unsigned(), both, "bf16 of {v}");
        assert_eq!(back[i], bf16.to_f32(), "bf16 of {v}");
    }
}
