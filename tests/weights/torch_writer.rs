//! Writes torch files byte by byte, as torch does and as it never would.

use crate::scratch::f32_bytes;

/// A pickle of protocol 2 being assembled.
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(crate) fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        let length = u32::try_from(text.len()).unwrap();
        self.op(b"X").op(&length.to_le_bytes()).op(text.as_bytes())
    }

    pub(crate) fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    /// The shortest opcode, as Python picks it.
    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        if let Ok(value) = u8::try_from(value) {
            self.op(b"K").op(&[value])
        } else if let Ok(value) = u16::try_from(value) {
            self.op(b"M").op(&value.to_le_bytes())
        } else if let Ok(value) = i32::try_from(value) {
            self.op(b"J").op(&value.to_le_bytes())
        } else {
            self.op(&[0x8a, 8]).op(&value.to_le_bytes())
        }
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> &mut Self {
        self.op(b"(");
        for &value in values {
            self.int(value);
        }
        self.op(b"t")
    }

    pub(crate) fn tensor(&mut self, t: &View<'_>) -> &mut Self {
        self.global("torch._utils", "_rebuild_tensor_v2").op(b"((");
        self.text("storage").global("torch", t.class);
        self.text(t.key).text("cpu").int(t.count).op(b"tQ");
        self.int(t.offset).ints(t.sizes).ints(t.strides);
        self.op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    /// An OrderedDict of tensors with the `_metadata` that modules add.
    pub(crate) fn state_dict(&mut self, tensors: &[(&str, View<'_>)]) -> &mut Self {
        self.global("collections", "OrderedDict").op(b")Rq\x00(");
        for (name, tensor) in tensors {
            self.text(name).op(b"r\x00\x01\x00\x00").tensor(tensor);
        }
        self.op(b"u}").text("_metadata").op(b"h\x00sb")
    }

    pub(crate) fn stop(&mut self) -> Vec<u8> {
        self.op(b".").0.clone()
    }
}

/// A tensor as a torch file describes it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) class: &'a str,
    pub(crate) key: &'a str,
    pub(crate) count: i64,
    pub(crate) offset: i64,
    pub(crate) sizes: &'a [i64],
    pub(crate) strides: &'a [i64],
}

/// A contiguous f32 vector that is all of its storage.
pub(crate) fn vector<'a>(key: &'a str, sizes: &'a [i64; 1]) -> View<'a> {
    View {
        class: "FloatStorage",
        key,
        count: sizes[0],
        offset: 0,
        sizes,
        strides: &[1],
    }
}

/// A torch file of this pickle and these f32 storages, numbered from "0".
pub(crate) fn torch_file(pickle: &[u8], storages: &[&[f32]]) -> Vec<u8> {
    let mut members = vec![
        ("archive/data.pkl".to_string(), pickle.to_vec()),
        ("archive/byteorder".to_string(), b"little".to_vec()),
        ("archive/version".to_string(), b"3\n".to_vec()),
    ];
    for (number, values) in storages.iter().enumerate() {
        members.push((format!("archive/data/{number}"), f32_bytes(values)));
    }
    zip(&members, Form::default())
}

/// How a zip is written.
#[derive(Clone, Copy, Default)]
pub(crate) struct Form {
    /// Sizes in zip64 fields.
    pub(crate) is_zip64: bool,
    /// Compression method that the entries claim.
    pub(crate) method: u16,
    /// Added to the claimed unpacked size.
    pub(crate) bloat: u32,
}

pub(crate) fn zip(members: &[(String, Vec<u8>)], form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for (name, body) in members {
        let at = out.len() as u64;
        let name_bytes = u16::try_from(name.len()).unwrap().to_le_bytes();
        out.extend(b"PK\x03\x04");
        out.extend([0; 22]);
        out.extend(name_bytes);
        // Torch pads this field so that the bytes start at a multiple of 64.
        let padding =
            (out.len() + 2 + name.len()).next_multiple_of(64) - out.len() - 2 - name.len();
        out.extend(u16::try_from(padding).unwrap().to_le_bytes());
        out.extend(name.as_bytes());
        out.extend(vec![b'F'; padding]);
        out.extend(body);

        let size = body.len() as u64;
        let mut extra = Vec::new();
        let [mut packed, mut unpacked, mut offset] =
            [size, size + u64::from(form.bloat), at].map(|v| u32::try_from(v).unwrap());
        if form.is_zip64 {
            extra.extend([b"\x01\x00\x18\x00".to_vec()].concat());
            for value in [size, size, at] {
                extra.extend(value.to_le_bytes());
            }
            [packed, unpacked, offset] = [u32::MAX; 3];
        }
        directory.extend(b"PK\x01\x02\0\0\0\0\0\0");
        directory.extend(form.method.to_le_bytes());
        directory.extend([0; 8]);
        directory.extend(packed.to_le_bytes());
        directory.extend(unpacked.to_le_bytes());
        directory.extend(name_bytes);
        directory.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
        directory.extend(extra);
    }
    end(&mut out, &directory, members.len() as u64, form.is_zip64);
    out
}

fn end(out: &mut Vec<u8>, directory: &[u8], count: u64, is_zip64: bool) {
    let (start, size) = (out.len() as u64, directory.len() as u64);
    out.extend(directory);
    let end64 = out.len() as u64;
    let narrow = |value: u64| u32::try_from(value).unwrap();
    if is_zip64 {
        out.extend(b"PK\x06\x06");
        out.extend(44_u64.to_le_bytes());
        out.extend([0; 12]);
        for value in [count, count, size, start] {
            out.extend(value.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(end64.to_le_bytes());
        out.extend([1, 0, 0, 0]);
    }
    let [size, start] = if is_zip64 {
        [u32::MAX; 2]
    } else {
        [narrow(size), narrow(start)]
    };
    out.extend(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(count).unwrap().to_le_bytes();
    out.extend([count, count].concat());
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
}
