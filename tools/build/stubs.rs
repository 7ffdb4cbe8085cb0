//! Writes the Rust side of kernel signatures: for each file a module of constants and of argument structures.
//!
//! `build.rs` includes this file and `signature.rs`, and so does their test, `tests/stubs/`. The text becomes
//! `gallop::cuda::kernels`.

use super::entry_point::{Kind, Parameter, Signature, Source};

/// The Rust text for kernel files by name.
pub(crate) fn stubs(sources: &[(String, Source)]) -> String {
    let modules: String = sources
        .iter()
        .map(|(file, source)| module(file, source))
        .collect();
    let all: Vec<String> = sources
        .iter()
        .flat_map(|(file, source)| {
            let groups = groups(&source.kernels);
            let names = groups
                .into_iter()
                .flat_map(|group| match &group[0].made_from {
                    None => vec![format!("{}::KERNEL", camel(&group[0].name))],
                    Some(_) => {
                        let list = list_name(&group);
                        (0..group.len())
                            .map(|i| format!("{list}[{i}].kernel"))
                            .collect()
                    }
                });
            names
                .map(move |name| format!("{file}::{name}"))
                .collect::<Vec<_>>()
        })
        .collect();
    let list = match &all[..] {
        [] => "[]".to_string(),
        [one] => format!("[{one}]"),
        more => format!("[\n    {},\n]", more.join(",\n    ")),
    };
    format!("{modules}/// All entry points.\npub const KERNELS: &[Kernel] = &{list};\n")
}

/// Groups of entry points that differ only in pointee types, in the order of their first members.
fn groups(kernels: &[Signature]) -> Vec<Vec<&Signature>> {
    let mut groups: Vec<Vec<&Signature>> = Vec::new();
    for kernel in kernels {
        let alike = |group: &&mut Vec<&Signature>| {
            kernel.made_from.is_some() && group[0].made_from == kernel.made_from
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(kernel),
            None => groups.push(vec![kernel]),
        }
    }
    groups
}

/// The common prefix of a group's names: `rope_f32` and `rope_bf16` to `ROPE`.
fn list_name(group: &[&Signature]) -> String {
    let mut common: Vec<&str> = group[0].name.split('_').collect();
    for kernel in group {
        let pairs = common.iter().zip(kernel.name.split('_'));
        let length = pairs.take_while(|(a, b)| *a == b).count();
        common.truncate(length);
    }
    common.join("_").to_uppercase()
}

fn module(file: &str, source: &Source) -> String {
    let constants: String = source
        .constants
        .iter()
        .map(|(name, value)| constant(name, *value))
        .collect();
    let mut written: Vec<&str> = Vec::new();
    let mut kernels: Vec<String> = Vec::new();
    for group in groups(&source.kernels) {
        let Some((template, _)) = &group[0].made_from else {
            kernels.push(entry(file, group[0]));
            continue;
        };
        if !written.contains(&template.as_str()) {
            written.push(template);
            kernels.push(arguments(template, &group[0].parameters));
        }
        kernels.push(instances(file, template, &group));
    }
    // A file without kernels is a header.
    let (ending, imports) = if kernels.is_empty() {
        ("cuh", "")
    } else {
        ("cu", "    use super::*;\n\n")
    };
    format!(
        "/// `{file}.{ending}`.\npub mod {file} {{\n{imports}{constants}{}}}\n\n",
        kernels.join("\n")
    )
}

fn constant(name: &str, value: i64) -> String {
    format!("    /// `{name}` of the kernel file.\n    pub const {name}: usize = {value};\n\n")
}

/// The structure of an entry point's arguments and its `Entry`.
fn entry(file: &str, kernel: &Signature) -> String {
    let Signature {
        name, parameters, ..
    } = kernel;
    let camel = camel(name);
    format!(
        "{}
    impl Entry for {camel} {{
        const KERNEL: Kernel = {};

{}    }}
",
        structure(&camel, &format!("`{name}`"), parameters),
        literal(file, kernel, 8),
        args(parameters)
    )
}

/// The structure of the arguments of all instances of a template.
fn arguments(template: &str, parameters: &[Parameter]) -> String {
    let camel = format!("{}Args", camel(template));
    let types: Vec<String> = parameters
        .iter()
        .filter(|p| p.open.is_some())
        .map(|p| format!("self.{}.dtype()", p.name))
        .collect();
    format!(
        "{}
    impl Arguments for {camel} {{
{}
        fn types(&self) -> Vec<DType> {{
            vec![{}]
        }}
    }}
",
        structure(
            &camel,
            &format!("what is made from `{template}`"),
            parameters
        ),
        args(parameters),
        types.join(", ")
    )
}

/// The list of a group's entry points.
fn instances(file: &str, template: &str, group: &[&Signature]) -> String {
    let rows: String = group.iter().map(|kernel| instance(file, kernel)).collect();
    let values = match &group[0].made_from {
        Some((_, values)) if !values.is_empty() => format!(" with `{values}`"),
        _ => String::new(),
    };
    format!(
        "    /// What is made from `{template}`{values}.
    pub const {}: &[Instance<{}Args>] = &[
{rows}    ];
",
        list_name(group),
        camel(template)
    )
}

/// One entry of the list: the entry point, and its types.
fn instance(file: &str, kernel: &Signature) -> String {
    let open = kernel.parameters.iter().filter(|p| p.open.is_some());
    let types: Vec<String> = open.map(|p| format!("DType::{}", dtype(&p.kind))).collect();
    format!(
        "        Instance::new({}, &[{}]),\n",
        literal(file, kernel, 8),
        types.join(", ")
    )
}

fn structure(name: &str, of: &str, parameters: &[Parameter]) -> String {
    let fields: String = parameters
        .iter()
        .map(|p| {
            let shown = match (&p.open, &p.kind) {
                (Some(class), Kind::Pointer { read: true, .. }) => format!("const {class}*"),
                (Some(class), _) => format!("{class}*"),
                (None, kind) => kind.to_string(),
            };
            let of = if p.open.is_some() {
                "AnyDev".into()
            } else {
                rust_type(&p.kind)
            };
            format!(
                "        /// `{shown} {}`\n        pub {}: {of},\n",
                p.name, p.name
            )
        })
        .collect();
    format!(
        "    /// Arguments of {of}, in the kernel's order.
    #[derive(Clone, Debug)]
    pub struct {name} {{
{fields}    }}
"
    )
}

fn args(parameters: &[Parameter]) -> String {
    let args: String = parameters
        .iter()
        .map(|p| match p.kind {
            Kind::Structure(_) => format!("                Arg::structure(&self.{}),\n", p.name),
            _ => format!("                self.{}.into(),\n", p.name),
        })
        .collect();
    format!(
        "        fn args(&self) -> Vec<Arg> {{
            vec![
{args}            ]
        }}
"
    )
}

/// The entry point as a `Kernel`, at this indentation.
fn literal(file: &str, kernel: &Signature, spaces: usize) -> String {
    let Signature {
        name,
        threads,
        cluster,
        ..
    } = kernel;
    let pad = " ".repeat(spaces);
    format!(
        "Kernel {{
{pad}    module: \"{file}\",
{pad}    name: \"{name}\",
{pad}    threads: {threads},
{pad}    cluster: {cluster},
{pad}}}"
    )
}

/// The plan's name of a pointee type.
fn dtype(kind: &Kind) -> &'static str {
    match kind {
        Kind::Pointer { element, .. } => match *element {
            "bf16" => "Bf16",
            "float" => "F32",
            "e4m3" => "E4m3",
            "int" => "I32",
            "unsigned char" => "U8",
            other => panic!("plans have no {other}"),
        },
        other => panic!("`{other}` points to nothing"),
    }
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
        Kind::Structure(name) => name.clone(),
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
        let source = parse(
            include_str!("../../tests/stubs/example.cu"),
            &[],
            &["RowScales".into()],
        )
        .unwrap();
        let text = include_str!("../../tests/stubs/example.rs");
        let (_, want) = text.split_once("// Generated from here on.\n\n").unwrap();
        let got = stubs(&[("example".into(), source)]);
        assert!(got == want, "tests/stubs/example.rs should end in\n{got}");
    }

    #[test]
    fn no_kernels_give_an_empty_list() {
        assert!(stubs(&[]).ends_with("pub const KERNELS: &[Kernel] = &[];\n"));
        let constants = parse("constexpr int N = 3;", &[], &[]).unwrap();
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
