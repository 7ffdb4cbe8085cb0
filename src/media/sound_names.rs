//! What a file that is no voice track we read is called, and how it becomes one.

use symphonia::core::codecs::audio::{
    AudioCodecId,
    well_known::{
        CODEC_ID_AC3, CODEC_ID_AC4, CODEC_ID_DCA, CODEC_ID_EAC3, CODEC_ID_MP1, CODEC_ID_MP2,
        CODEC_ID_OPUS, CODEC_ID_SPEEX, CODEC_ID_TRUEHD, CODEC_ID_WAVPACK, CODEC_ID_WMA,
    },
};

use crate::error::stand_in;

/// The kinds that are read.
const READ: &str = "WAV, AIFF, CAF, MP3, AAC, M4A, FLAC or Ogg Vorbis";

/// That `name` is `what`, and the command that makes a WAV of it.
pub(super) fn refusal(name: &str, what: &str) -> String {
    format!("is {what}; expected {READ} sound, {}", conversion(name))
}

/// The command that makes a mono WAV of the file called `name`.
pub(super) fn conversion(name: &str) -> String {
    format!("convert it: ffmpeg -i '{name}' -ac 1 '{name}.wav'")
}

/// What is wrong with a file that holds no sound at all, by its first bytes; no program makes a voice of it.
pub(super) fn no_sound(head: &[u8]) -> Option<String> {
    let known: [(usize, &[u8], &str); 8] = [
        (0, b"\x89PNG", "a PNG picture"),
        (0, b"\xff\xd8\xff", "a JPEG picture"),
        (0, b"GIF8", "a GIF picture"),
        (8, b"WEBP", "a WebP picture"),
        (0, b"%PDF", "a PDF document"),
        (0, b"PK\x03\x04", "a ZIP archive"),
        (0, b"\x1f\x8b", "a gzip archive"),
        (0, b"MThd", "a MIDI file"),
    ];
    let mut found = known
        .iter()
        .filter(|(at, mark, _)| has_mark(head, *at, mark));
    let kind = found
        .next()
        .map(|(_, _, what)| format!("is {what}; expected {READ} sound"));
    kind.or_else(|| stand_in(head))
}

fn has_mark(head: &[u8], at: usize, mark: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(mark))
}

/// The kind of a file that is not read, by its first bytes. A demuxer that searches for its marks might find some in it.
pub(super) fn other_file(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, mark: &[u8]| has_mark(head, at, mark);
    let known: [(usize, &[u8], &str); 33] = [
        (28, b"OpusHead", "an Ogg Opus file"),
        (28, b"Speex   ", "an Ogg Speex file"),
        (28, b"\x80theora", "an Ogg Theora video"),
        (0, b"#!AMR", "an AMR file"),
        (0, b"#!SILK", "a SILK file"),
        (1, b"#!SILK", "a SILK file"),
        (
            0,
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
            "a WMA or other ASF file",
        ),
        (0, b"MAC ", "a Monkey's Audio file"),
        (0, b"wvpk", "a WavPack file"),
        (0, b"TTA1", "a True Audio file"),
        (0, b"TTA2", "a True Audio file"),
        (0, b"MPCK", "a Musepack file"),
        (0, b"MP+", "a Musepack file"),
        (0, b"OFR ", "an OptimFROG file"),
        (0, b"TAK", "a TAK file"),
        (0, b"ajkg", "a Shorten file"),
        (0, b"DSD ", "a DSF file"),
        (0, b"FRM8", "a DSDIFF file"),
        (0, b".snd", "an AU file"),
        (8, b"8SVX", "an IFF 8SVX file"),
        (0, b"Creative Voice File", "a VOC file"),
        (0, b"riff\x2e\x91\xcf\x11", "a Wave64 file"),
        (0, b"RIFX", "a big-endian WAV file"),
        (8, b"AVI ", "an AVI video"),
        (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
        (0, b"FLV", "a Flash video"),
        (0, b"\0\0\x01\xba", "an MPEG video"),
        (0, b"\0\0\x01\xb3", "an MPEG video"),
        (0, b".RMF", "a RealMedia file"),
        (0, b".ra\xfd", "a RealAudio file"),
        (0, b"\x0b\x77", "an AC-3 file"),
        (0, b"\x7f\xfe\x80\x01", "a DTS file"),
        (4, b"\xf8\x72\x6f", "a TrueHD or MLP file"),
    ];
    let is_stream = has(0, b"G") && has(188, b"G") && has(376, b"G");
    let is_layer_2 = matches!(head, [0xff, second, ..] if second & 0xf6 == 0xf4);
    let mark = known.iter().find(|(at, mark, _)| has(*at, mark));
    mark.map(|&(_, _, what)| what)
        .or(is_stream.then_some("an MPEG transport stream"))
        .or(is_layer_2.then_some("an MP2 file"))
        .or_else(|| wave_codec(head))
}

/// The kind of a WAV whose samples are coded, by its format tag.
fn wave_codec(head: &[u8]) -> Option<&'static str> {
    if head.get(8..16) != Some(b"WAVEfmt ") {
        return None;
    }
    Some(match u16::from_le_bytes([*head.get(20)?, *head.get(21)?]) {
        0x02 => "a WAV file of MS ADPCM",
        0x11 => "a WAV file of IMA ADPCM",
        0x31 => "a WAV file of GSM 6.10",
        0x50 => "a WAV file of MP2",
        0x55 => "a WAV file of MP3",
        0xff | 0x1610 => "a WAV file of AAC",
        0x161..=0x163 => "a WAV file of WMA",
        0x2000 => "a WAV file of AC-3",
        0x2001 => "a WAV file of DTS",
        _ => return None,
    })
}

/// The name of sound that no decoder is here for.
pub(super) fn codec(id: AudioCodecId) -> &'static str {
    match id {
        CODEC_ID_OPUS => "Opus",
        CODEC_ID_AC3 => "AC-3",
        CODEC_ID_EAC3 => "E-AC-3",
        CODEC_ID_AC4 => "AC-4",
        CODEC_ID_DCA => "DTS",
        CODEC_ID_MP1 => "MP1",
        CODEC_ID_MP2 => "MP2",
        CODEC_ID_SPEEX => "Speex",
        CODEC_ID_TRUEHD => "TrueHD",
        CODEC_ID_WAVPACK => "WavPack",
        CODEC_ID_WMA => "WMA",
        _ => "another kind",
    }
}
