//! Parameters that other servers of this interface have: by another name, with no effect here, or impossible here.

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
const ENCODING: &str = "has no effect: `quality` says how the clip is encoded";
const OPERATOR: &str = "has no effect: whoever runs the server decides it";

/// Parameters that are accepted and change nothing, each with what its warning says. They are those of vLLM-Omni's and
/// SGLang's request types, of November 2026.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("aspect_ratio", "has no effect: `size` has width and height"),
    ("background", ENCODING),
    ("boundary_ratio", NO_SECOND_NETWORK),
    ("diffusers_kwargs", "is for another runtime"),
    ("enable_frame_interpolation", NO_INTERPOLATION),
    ("enable_teacache", NO_CACHE),
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
    (
        "prompt_extend",
        "has no effect: prompts are used as they are",
    ),
    (
        "response_format",
        "has no effect: the answer is a job, and its clip an MP4",
    ),
    ("rollout", "is for training; it has no effect here"),
    ("rollout_sde_type", "is for training; it has no effect here"),
    ("shot_type", "has no effect: say it in the prompt"),
    (
        "sound_duration",
        "has no effect: the sound is as long as the picture",
    ),
    ("style", "has no effect: say it in the prompt"),
    ("task", "has no effect: the inputs say what is made"),
    ("teacache_threshold", NO_CACHE),
    ("vae_use_slicing", OPERATOR),
    ("vae_use_tiling", OPERATOR),
    ("watermark", "has no effect: there is none"),
];

/// Parameters that are understood and cannot be had.
pub(super) const IMPOSSIBLE: &[(&str, &str)] = &[
    (
        "last_frame",
        "is not possible: the model takes a first frame alone",
    ),
    (
        "lora",
        "is not possible: this server was started without LoRA files",
    ),
    (
        "reference_images",
        "is not possible: the model takes one picture, the first frame",
    ),
    (
        "video_reference",
        "is not possible: the model takes no clip to go on from or to change",
    ),
    (
        "input_video",
        "is not possible: the model takes no clip to go on from or to change",
    ),
];
