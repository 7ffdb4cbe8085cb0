//! Parameters that other servers of this interface have: by another name, with no effect here, or impossible here.

use super::refusal::{Code, Refusal};

/// Another name of a parameter, and the parameter.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("audio", "audio_reference"),
    ("audio_url", "audio_reference"),
    ("cfg_scale", "guidance_scale"),
    ("duration", "seconds"),
    ("generate_sound", "generate_audio"),
    ("image", "input_reference"),
    ("image_reference", "input_reference"),
    ("image_url", "input_reference"),
    ("num_outputs_per_prompt", "n"),
    ("reference_url", "input_reference"),
    ("steps", "num_inference_steps"),
    ("true_cfg_scale", "guidance_scale"),
];

/// Names whose value is an object of further parameters.
pub(super) const GROUPS: &[&str] = &["extra_body", "extra_params", "video_params"];

const NO_SECOND_NETWORK: &str = "is for models with two networks; this one has one";
const NO_CACHE: &str = "is a shortcut that changes the clip; every step is computed here";
const NO_INTERPOLATION: &str =
    "has no effect: clips have 25 frames per second, and none is made up";
const NO_UPSCALER: &str = "has no effect: `size` and `scale` say how large the clip is";
const ENCODING: &str = "has no effect: `quality` says how the clip is encoded";
const OPERATOR: &str = "has no effect: whoever runs the server decides it";

/// Parameters that are accepted and change nothing, each with what its warning says. They are those of vLLM-Omni's,
/// SGLang's and OpenRouter's request types, of November 2026.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("aspect_ratio", "has no effect: `size` has width and height"),
    ("background", ENCODING),
    ("boundary_ratio", NO_SECOND_NETWORK),
    ("diffusers_kwargs", "is for another runtime"),
    ("enable_frame_interpolation", NO_INTERPOLATION),
    ("enable_teacache", NO_CACHE),
    ("enable_upscaling", NO_UPSCALER),
    ("flow_shift", "has no effect: the schedule is the model's"),
    ("frame_interpolation_exp", NO_INTERPOLATION),
    ("frame_interpolation_model_path", NO_INTERPOLATION),
    ("frame_interpolation_scale", NO_INTERPOLATION),
    ("generator_device", OPERATOR),
    (
        "guidance_scale",
        "has no effect: the model's own guidance is used, if it has one",
    ),
    ("guidance_scale_2", NO_SECOND_NETWORK),
    (
        "max_sequence_length",
        "has no effect: the model's own limit is used",
    ),
    ("output_compression", ENCODING),
    ("output_format", "has no effect: the clip is an MP4"),
    ("output_path", OPERATOR),
    ("output_quality", ENCODING),
    ("perf_dump_path", OPERATOR),
    (
        "prompt_extend",
        "has no effect: prompts are used as they are",
    ),
    (
        "response_format",
        "has no effect: the answer is a job, and its clip an MP4",
    ),
    ("provider", "has no effect: clips are made here"),
    ("rollout", "is for training; it has no effect here"),
    ("rollout_sde_type", "is for training; it has no effect here"),
    ("session_id", "has no effect: no session is kept"),
    ("shot_type", "has no effect: say it in the prompt"),
    (
        "sound_duration",
        "has no effect: the sound is as long as the picture",
    ),
    ("style", "has no effect: say it in the prompt"),
    ("task", "has no effect: the inputs say what is made"),
    ("teacache_threshold", NO_CACHE),
    ("trace", "has no effect: jobs are not traced"),
    ("upscaling_model_path", NO_UPSCALER),
    ("upscaling_scale", NO_UPSCALER),
    ("vae_use_slicing", OPERATOR),
    ("vae_use_tiling", OPERATOR),
    ("watermark", "has no effect: there is none"),
];

const FIRST_FRAME_ALONE: &str = "is not possible: the model takes a first frame alone";
const ONE_PICTURE: &str = "is not possible: the model takes one picture, the first frame";
const NO_CLIP: &str = "is not possible: the model takes no clip to go on from or to change";

/// Parameters that are understood and cannot be had, of the clients of all doors.
const IMPOSSIBLE: &[(&str, &str)] = &[
    ("characters", ONE_PICTURE),
    ("creativity", NO_CLIP),
    ("end_image", FIRST_FRAME_ALONE),
    (
        "frame_indices",
        "is not possible: the model takes a picture for the first frame and no other",
    ),
    ("input_references", ONE_PICTURE),
    ("input_video", NO_CLIP),
    ("last_frame", FIRST_FRAME_ALONE),
    ("last_frame_url", FIRST_FRAME_ALONE),
    (
        "lora",
        "is not possible: this server was started without LoRA files",
    ),
    (
        "loras",
        "is not possible: this server was started without LoRA files",
    ),
    ("previous_job_id", NO_CLIP),
    ("ref_images_url", ONE_PICTURE),
    ("reference_images", ONE_PICTURE),
    ("reference_urls", ONE_PICTURE),
    ("reference_video_description", NO_CLIP),
    ("reference_video_urls", NO_CLIP),
    ("source_video", NO_CLIP),
    ("tail_frame", FIRST_FRAME_ALONE),
    ("upscale_factor", NO_CLIP),
    ("video_path", NO_CLIP),
    ("video_reference", NO_CLIP),
    ("video_url", NO_CLIP),
];

/// The refusal of a parameter that is understood and cannot be had.
pub fn impossible(name: &str) -> Option<Refusal> {
    let (_, reason) = IMPOSSIBLE.iter().find(|(known, _)| *known == name)?;
    Some(Refusal::of(Code::UnsupportedFeature, name, reason))
}
