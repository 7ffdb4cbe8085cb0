//! Writes the Rust side of kernel signatures: for each file a module of constants and of argument structures.
//!
//! `build.rs` includes this file, beside `signature.rs`, and so does its test, `tests/stubs/`. What it writes becomes
//! `gallop::cuda::kernels`.

use super::signature::{Kind, Signature, Source};

/// The Rust text for kernel files by name.
pub(crate) fn stubs(sources: &[(String, Source)]) -> String {
    let modules: String = sources
        .iter()
        .map(|(file, source)| module(file, source))
        .collect();
    let all: Vec<String> = sources
        .iter()
        .flat_map(|(file, source)| {
            source
                .kernels
                .iter()
                .map(move |k| format!("{file}::{}::KERNEL", camel(&k.name)))
        })
        .collect();
    let list = match &all[..] {
        [] => "[]".to_string(),
        [one] => format!("[{one}]"),
        more => format!("[\n    {},\n]", more.join(",\n    ")),
    };
    format!("{modules}/// All entry points.\npub const KERNELS: &[Kernel] = &{list};\n")
}

fn module(file: &str, source: &Source) -> String {
    let constants: String = source
        .constants
        .iter()
        .map(|(name, value)| constant(name, *value))
        .collect();
    let kernels: Vec<String> = source
        .kernels
        .iter()
        .map(|kernel| entry(file, kernel))
        .collect();
    // A file without kernels is a header.
    let (ending, imports) = if kernels.is_empty() {
        ("cuh", "")
    } else {
        ("cu", "    use super::*;\n\n")
    };
    format!(
        "/// `kernels/{file}.{ending}`.\npub mod {file} {{\n{imports}{constants}{}}}\n\n",
        kernels.join("\n")
    )
}

fn constant(name: &str, value: i64) -> String {
    format!("    /// `{name}` of the kernel file.\n    pub const {name}: usize = {value};\n\n")
}

fn entry(file: &str, kernel: &Signature) -> String {
    let Signature {
        name,
        threads,
        cluster,
        parameters,
    } = kernel;
    let fields: String = parameters
        .iter()
        .map(|p| {
            format!(
                "        /// `{} {}`\n        pub {}: {},\n",
                p.kind,
                p.name,
                p.name,
                rust_type(&p.kind)
            )
        })
        .collect();
    let args: String = parameters
        .iter()
        .map(|p| format!("                self.{}.into(),\n", p.name))
        .collect();
    let camel = camel(name);
    format!(
        "    /// Arguments of `{name}`, in the kernel's order.
    #[derive(Clone, Debug)]
    pub struct {camel} {{
{fields}    }}

    impl Entry for {camel} {{
        const KERNEL: Kernel = Kernel {{
            module: \"{file}\",
            name: \"{name}\",
            threads: {threads},
            cluster: {cluster},
        }};

        fn args(&self) -> Vec<Arg> {{
            vec![
{args}            ]
        }}
    }}
"
    )
}

/// `rms_norm_bf16` to `RmsNormBf16`.
fn camel(name: &str) -> String {
    let upper = |part: &str| {
        let mut chars = part.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    name.split('_').map(upper).collect()
}

fn rust_type(kind: &Kind) -> String {
    match kind {
        Kind::Int => "i32".into(),
        Kind::Long => "i64".into(),
        Kind::Float => "f32".into(),
        Kind::TensorMap => "TensorMap".into(),
        Kind::Pointer { element, read } => {
            let element = match *element {
                "float" => "f32",
                "int" => "i32",
                "long long" => "i64",
                "unsigned char" => "u8",
                "e4m3" => "E4m3",
                // bf16 and the structures of params.h have their names on both sides.
                same => same,
            };
            format!("{}<{element}>", if *read { "Dev" } else { "DevMut" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::signature::parse, *};

    #[test]
    fn the_example_is_what_its_kernel_source_gives() {
        let source = parse(include_str!("../../tests/stubs/example.cu"), &[]).unwrap();
        let text = include_str!("../../tests/stubs/example.rs");
        let (_, want) = text.split_once("// Generated from here on.\n\n").unwrap();
        let got = stubs(&[("example".into(), source)]);
        assert!(got == want, "tests/stubs/example.rs should end in\n{got}");
    }

    #[test]
    fn no_kernels_give_an_empty_list() {
        assert!(stubs(&[]).ends_with("pub const KERNELS: &[Kernel] = &[];\n"));
        let constants = parse("constexpr int N = 3;", &[]).unwrap();
        assert!(
            stubs(&[("a".into(), constants)]).contains(
                "pub mod a {\n    /// `N` of the kernel file.\n    pub const N: usize = 3;"
            )
        );
    }

    #[test]
    fn names_become_types() {
        assert_eq!(camel("rms_norm_bf16"), "RmsNormBf16");
        assert_eq!(camel("_x__y"), "XY");
    }
}
