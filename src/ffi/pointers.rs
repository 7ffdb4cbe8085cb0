//! Pointers of the caller, each looked at once: a null one is a failure that names the argument.

use std::ffi::{CStr, c_char};

use super::status::{Failure, GallopStatus};

/// What `pointer` points to.
///
/// # Safety
/// It is null, or it points to a `T` that lives and stays as it is for `'a`.
pub(super) unsafe fn borrowed<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    let value = unsafe { pointer.as_ref() };
    value.ok_or_else(|| Failure::argument(name, "must not be null"))
}

/// Puts `value` where `out` points.
///
/// # Safety
/// It is null, or a `T` may be written there.
pub(super) unsafe fn give<T>(out: *mut T, name: &str, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument(name, "must not be null"));
    }
    // SAFETY: the caller's promise; it is not null by the line above.
    unsafe { out.write(value) };
    Ok(())
}

/// The text at `pointer`, or none.
///
/// # Safety
/// It is null, or it points to bytes that end in a zero, and that live and stay as they are for `'a`.
pub(super) unsafe fn text<'a>(
    pointer: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise; it is not null by the line above.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text.to_str();
    text.map(Some)
        .map_err(|_| Failure::argument(name, "must be UTF-8"))
}

/// `count` values from `pointer` on.
///
/// # Safety
/// It is null, or it points to so many values that live and stay as they are for `'a`.
pub(super) unsafe fn values<'a, T>(
    pointer: *const T,
    name: &str,
    count: usize,
) -> Result<&'a [T], Failure> {
    let bytes = count.checked_mul(size_of::<T>());
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Failure::argument(name, "is larger than any memory"));
    }
    if pointer.is_null() {
        return Err(Failure::argument(name, "must not be null"));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(name, "must be aligned to its values"));
    }
    // SAFETY: the caller's promise; length and alignment were checked above.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Copies `text` and a zero to `buffer`, which has `*length` bytes; without a buffer says only how many it takes.
///
/// # Safety
/// `length` is null or can be read and written; so many bytes can be written to `buffer`, or it is null.
pub(super) unsafe fn give_text(
    text: &str,
    buffer: *mut c_char,
    length: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let has = *unsafe { borrowed(length, "len") }?;
    let needs = text.len() + 1;
    // SAFETY: the caller's promise.
    unsafe { give(length, "len", needs) }?;
    if buffer.is_null() {
        return Ok(());
    }
    if has < needs {
        let text = format!("`buf` has {has} bytes, and the text takes {needs}");
        return Err(Failure::new(GallopStatus::InvalidArgument, text));
    }
    // SAFETY: `buffer` has room for `needs` bytes by the line above, and is none of ours.
    unsafe { buffer.copy_from_nonoverlapping(text.as_ptr().cast(), text.len()) };
    // SAFETY: as above: this is the last of `needs` bytes.
    let end = unsafe { buffer.add(text.len()) };
    // SAFETY: as above.
    unsafe { end.write(0) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use super::*;

    #[test]
    fn a_text_is_copied_if_there_is_room_for_it() {
        let mut length = 0;
        let mut buffer: [c_char; 6] = [7; 6];
        let copy = |buffer: *mut c_char, length: &mut usize| {
            // SAFETY: the length is one of a buffer of six, or there is none.
            unsafe { give_text("cafe", buffer, length) }
        };
        copy(std::ptr::null_mut(), &mut length).unwrap();
        assert_eq!(length, 5);
        length = 4;
        let short = copy(buffer.as_mut_ptr(), &mut length).unwrap_err();
        assert_eq!((short.status, length), (GallopStatus::InvalidArgument, 5));
        assert_eq!(buffer, [7; 6]);
        length = 6;
        copy(buffer.as_mut_ptr(), &mut length).unwrap();
        assert_eq!(length, 5);
        assert_eq!(buffer.map(|c| c as u8), *b"cafe\0\x07");
        // SAFETY: null pointers are allowed.
        assert!(unsafe { give_text("", std::ptr::null_mut(), std::ptr::null_mut()) }.is_err());
    }

    #[test]
    fn what_is_null_or_no_text_is_named() {
        // SAFETY: null pointers are allowed, and the other ends in a zero.
        let read = |pointer: *const c_char| unsafe { text(pointer, "prompt") };
        assert_eq!(read(null()), Ok(None));
        assert_eq!(read(c"a".as_ptr()), Ok(Some("a")));
        let bad = read(c"\xff".as_ptr()).unwrap_err();
        assert_eq!(bad.text, "`prompt` must be UTF-8");
        // SAFETY: null pointers are allowed.
        let none = unsafe { values(null::<f32>(), "audio_samples", 3) };
        assert!(none.unwrap_err().text.contains("audio_samples"));
        // SAFETY: a length that is refused is not read.
        let endless = unsafe { values(&1.0_f32, "audio_samples", usize::MAX) };
        assert!(endless.unwrap_err().text.contains("larger"));
    }
}
