//! Where files may be written, and what is left when they may not.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use gallop::media::{AtomicFile, Unnamed, check_apart, publish};

use crate::scratch::Scratch;

fn started(path: &Path, replaces: bool, text: &str) -> AtomicFile {
    let mut file = AtomicFile::create(path, replaces).unwrap();
    file.write(text.as_bytes()).unwrap();
    file
}

#[test]
fn of_two_writers_of_one_file_the_first_keeps_it_and_with_force_the_last() {
    let folder = Scratch::new("two");
    let path = folder.path("clip.mp4");
    let first = started(&path, false, "first");
    let second = started(&path, false, "second");
    assert_ne!(first.part_path(), second.part_path());
    publish(vec![first]).unwrap();
    let error = publish(vec![second]).unwrap_err();
    assert!(error.exit_code() == 6 && error.hint().is_some(), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"first");
    publish(vec![started(&path, true, "third")]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
    assert_eq!(folder.names(), ["clip.mp4"]);
}

#[test]
fn files_of_one_run_appear_together_or_not_at_all() {
    let folder = Scratch::new("together");
    let [there, fresh, taken] = ["there", "fresh", "taken"].map(|name| folder.path(name));
    fs::write(&there, "mine").unwrap();
    let number = fs::metadata(&there).unwrap().ino();
    let files = vec![
        started(&there, true, "a"),
        started(&fresh, true, "b"),
        started(&taken, false, "c"),
    ];
    fs::write(&taken, "theirs").unwrap();
    publish(files).unwrap_err();
    assert_eq!(folder.names(), ["taken", "there"]);
    assert_eq!(fs::read(&taken).unwrap(), b"theirs");
    assert_eq!(fs::read(&there).unwrap(), b"mine");
    assert_eq!(fs::metadata(&there).unwrap().ino(), number);
    publish(vec![started(&there, true, "a"), started(&fresh, true, "b")]).unwrap();
    assert_eq!(folder.names(), ["fresh", "taken", "there"]);
    assert_eq!(fs::read(&there).unwrap(), b"a");
}

#[test]
fn what_is_replaced_leaves_its_mode() {
    let folder = Scratch::new("mode");
    for mode in [0o600, 0o640, 0o444, 0o755] {
        let path = folder.path("clip.mp4");
        drop(fs::remove_file(&path));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        publish(vec![started(&path, true, "x")]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
}

/// Only root may give a file to somebody.
#[test]
fn what_is_replaced_leaves_its_owner() {
    let folder = Scratch::new("owner");
    let path = folder.path("clip.mp4");
    fs::write(&path, "").unwrap();
    if let Err(e) = chown(&path, Some(12_345), Some(54_321)) {
        return println!("skipped: no file can be given to another ({e})");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    publish(vec![started(&path, true, "x")]).unwrap();
    let there = fs::metadata(&path).unwrap();
    assert_eq!((there.uid(), there.gid()), (12_345, 54_321));
    assert_eq!(there.mode() & 0o7777, 0o640);
    assert_eq!(fs::read(&path).unwrap(), b"x");
    // A folder's, too, which is exchanged as a whole.
    let (old, mut new) = (
        folder.path("model"),
        Unnamed::folder(&folder.path("model")).unwrap(),
    );
    fs::create_dir(&old).unwrap();
    chown(&old, Some(12_345), None).unwrap();
    new.take_rights(&old);
    new.publish(&old, true).unwrap();
    assert_eq!(fs::metadata(&old).unwrap().uid(), 12_345);
}

#[test]
fn what_a_killed_run_left_goes_and_what_another_writes_stays() {
    let folder = Scratch::new("left");
    let live = started(&folder.path("live"), false, "x");
    let left = |name: &str| folder.path(&format!(".gallop-{name}.part"));
    fs::write(left("0"), "half").unwrap();
    fs::create_dir(left("1")).unwrap();
    fs::write(left("1").join("shard"), "half").unwrap();
    symlink(folder.path("mine"), left("2")).unwrap();
    for name in [".gallop-3", "gallop-4.part", ".other.part", "mine"] {
        fs::write(folder.path(name), "").unwrap();
    }
    drop(Unnamed::folder(&folder.path("model")).unwrap());
    for gone in ["0", "1"] {
        assert!(!left(gone).exists(), "{gone}");
    }
    assert!(live.part_path().exists());
    publish(vec![live]).unwrap();
    assert_eq!(
        folder.names(),
        [
            ".gallop-2.part",
            ".gallop-3",
            ".other.part",
            "gallop-4.part",
            "live",
            "mine"
        ]
    );
}

#[test]
fn names_of_255_bytes_are_written_and_longer_ones_refused_at_once() {
    let folder = Scratch::new("long");
    let name = "n".repeat(255);
    publish(vec![started(&folder.path(&name), false, "x")]).unwrap();
    assert_eq!(folder.names(), [name.as_str()]);
    let error = AtomicFile::create(&folder.path(&(name + "n")), false).unwrap_err();
    assert!(error.exit_code() == 6 && error.to_string().contains("name"));
}

#[test]
fn a_file_by_another_name_is_known() {
    let folder = Scratch::new("apart");
    fs::create_dir(folder.path("sub")).unwrap();
    fs::write(folder.path("a"), "").unwrap();
    fs::hard_link(folder.path("a"), folder.path("hard")).unwrap();
    symlink("a", folder.path("soft")).unwrap();
    symlink(".", folder.path("here")).unwrap();
    let paths = |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|n| folder.path(n)).collect() };
    for [one, other] in [
        ["a", "a"],
        ["a", "./a"],
        ["a", "sub/../a"],
        ["a", "hard"],
        ["a", "soft"],
        ["a", "here/a"],
        ["none", "none"],
        ["none", "sub/../none"],
        ["none", "here/none"],
        ["none", "NONE"],
    ] {
        let pair = paths(&[one, other]);
        let error = check_apart(&pair, &[]).unwrap_err();
        assert_eq!(error.exit_code(), 6, "{one} {other}");
        check_apart(&pair[..1], &pair[1..]).unwrap_err();
        check_apart(&[], &pair).unwrap();
    }
    let apart = paths(&["a", "none", "sub/a", "sub/none", "b"]);
    check_apart(&apart, &paths(&["c", "sub/c", "gone/a"])).unwrap();
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = Scratch::new("places");
    fs::write(folder.path("file"), "").unwrap();
    symlink("nothing", folder.path("link")).unwrap();
    let cases = [
        (folder.path("none/clip.mp4"), "does not exist; create it"),
        (folder.path("file/clip.mp4"), "does not exist; create it"),
        (folder.path("file"), "exists"),
        (folder.path("link"), "link to a file that is not there"),
        (folder.folder().to_path_buf(), "is a folder"),
        ("/dev/null".into(), "is a device or pipe"),
        ("..".into(), "is a folder"),
        ("-".into(), "standard output"),
        ("".into(), "no file name"),
    ];
    for (path, expected) in cases {
        let error = AtomicFile::create(&path, false).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(folder.names(), ["file", "link"]);
}

#[test]
fn a_link_keeps_pointing_at_the_file_that_is_replaced() {
    let folder = Scratch::new("link");
    fs::write(folder.path("real.mp4"), "old").unwrap();
    symlink("real.mp4", folder.path("link.mp4")).unwrap();
    publish(vec![started(&folder.path("link.mp4"), true, "new")]).unwrap();
    assert_eq!(fs::read(folder.path("real.mp4")).unwrap(), b"new");
    assert_eq!(folder.names(), ["link.mp4", "real.mp4"]);
}
