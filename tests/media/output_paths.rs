//! Where files may be written, and what is left when they may not.

use std::fs;

use gallop::media::AtomicFile;

use crate::scratch::Scratch;

#[test]
fn two_writers_of_one_file_do_not_mix() {
    let folder = Scratch::new("two");
    let path = folder.path("clip.mp4");
    let mut first = AtomicFile::create(&path).unwrap();
    let mut second = AtomicFile::create(&path).unwrap();
    assert_ne!(first.part_path(), second.part_path());
    first.write(b"first").unwrap();
    second.write(b"second").unwrap();
    first.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    second.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(folder.names(), ["clip.mp4"]);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = Scratch::new("places");
    let cases = [
        (folder.path("none/clip.mp4"), "does not exist; create it"),
        (folder.folder().to_path_buf(), "is a folder"),
        ("/dev/null".into(), "is a device or pipe"),
        ("..".into(), "is a folder"),
        ("".into(), "no file name"),
    ];
    for (path, expected) in cases {
        let error = AtomicFile::create(&path).unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_keeps_pointing_at_the_file_that_is_replaced() {
    let folder = Scratch::new("link");
    fs::write(folder.path("real.mp4"), "old").unwrap();
    std::os::unix::fs::symlink("real.mp4", folder.path("link.mp4")).unwrap();
    let mut file = AtomicFile::create(&folder.path("link.mp4")).unwrap();
    file.write(b"new").unwrap();
    file.commit().unwrap();
    assert_eq!(fs::read(folder.path("real.mp4")).unwrap(), b"new");
    assert_eq!(folder.names(), ["link.mp4", "real.mp4"]);
}
