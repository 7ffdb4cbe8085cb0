//! Prompts of the world in seven languages: words with synonyms, free order, and which words of a prompt nobody taught.

use crate::{random::Random, scene::Attributes};

/// The languages the model speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    English,
    Mandarin,
    Cantonese,
    Japanese,
    Korean,
    German,
    French,
}

impl Language {
    pub const ALL: [Self; 7] = [
        Self::English,
        Self::Mandarin,
        Self::Cantonese,
        Self::Japanese,
        Self::Korean,
        Self::German,
        Self::French,
    ];

    fn words(self) -> &'static Words {
        match self {
            Self::English => &ENGLISH,
            Self::Mandarin => &MANDARIN,
            Self::Cantonese => &CANTONESE,
            Self::Japanese => &JAPANESE,
            Self::Korean => &KOREAN,
            Self::German => &GERMAN,
            Self::French => &FRENCH,
        }
    }
}

/// The words of a language, synonyms together. A word with bars has a form for each gender of the noun: masculine,
/// feminine, neuter. A noun's gender is the digit in front of it.
struct Words {
    /// By [`crate::scene::Shape`].
    nouns: [&'static [&'static str]; 5],
    /// By [`crate::scene::Colour`].
    colours: [&'static [&'static str]; 8],
    /// By [`crate::scene::Size`]; mostly nothing is said of a middle size.
    sizes: [&'static [&'static str]; 3],
    /// By [`crate::scene::Motion`].
    motions: [&'static [&'static str]; 9],
    /// By [`crate::scene::Ground`].
    grounds: [&'static [&'static str]; 3],
    /// Sentences: `a` article, `s` size, `c` colour, `n` noun, `v` motion, `g` ground.
    sentences: &'static [&'static str],
    article: &'static str,
    /// What may be said besides, without meaning.
    asides: &'static [&'static str],
}

const ENGLISH: Words = Words {
    nouns: [
        &["0ball", "0disc", "0circle"],
        &["0square", "0box", "0block"],
        &["0triangle"],
        &["0star"],
        &["0ring", "0hoop"],
    ],
    colours: [
        &["red"],
        &["orange"],
        &["yellow"],
        &["green"],
        &["blue"],
        &["purple", "violet"],
        &["pink", "rose"],
        &["white"],
    ],
    sizes: [
        &["small", "little", "tiny"],
        &["", "", "medium"],
        &["big", "large", "huge"],
    ],
    motions: [
        &["bounces", "hops", "jumps up and down", "is bouncing"],
        &[
            "slides to the left",
            "moves left",
            "glides to the left",
            "is sliding left",
        ],
        &[
            "slides to the right",
            "moves right",
            "glides to the right",
            "is sliding right",
        ],
        &["slides up", "moves up", "rises", "is sliding upwards"],
        &["slides down", "moves down", "sinks", "is sliding downwards"],
        &["spins", "turns around", "rotates", "is spinning"],
        &["grows", "gets bigger", "becomes larger", "is growing"],
        &["blinks", "flashes", "appears and disappears", "is blinking"],
        &["rests", "lies still", "does not move", "stays still"],
    ],
    grounds: [
        &["on a dark background", "in the dark", "on black"],
        &["on a grey background", "on gray", "in front of a grey wall"],
        &["on a floor", "in a room", "above the dark floor"],
    ],
    sentences: &[
        "a s c n v g.",
        "g, a s c n v.",
        "a s n that is c v g.",
        "the n is c; the s n v g.",
        "s c n v g",
    ],
    article: "a",
    asides: &[
        "The camera is static.",
        "Nothing else is there.",
        "One hears it.",
    ],
};

const GERMAN: Words = Words {
    nouns: [
        &["0Ball", "1Kugel", "0Kreis"],
        &["2Quadrat", "2Viereck"],
        &["2Dreieck"],
        &["0Stern"],
        &["0Ring", "0Reifen"],
    ],
    colours: [
        &["roter|rote|rotes"],
        &[
            "orangefarbener|orangefarbene|orangefarbenes",
            "orangener|orangene|orangenes",
        ],
        &["gelber|gelbe|gelbes"],
        &["grüner|grüne|grünes"],
        &["blauer|blaue|blaues"],
        &["violetter|violette|violettes", "lila"],
        &["rosa", "pinker|pinke|pinkes"],
        &["weißer|weiße|weißes"],
    ],
    sizes: [
        &["kleiner|kleine|kleines", "winziger|winzige|winziges"],
        &["", "", "mittelgroßer|mittelgroße|mittelgroßes"],
        &["großer|große|großes", "riesiger|riesige|riesiges"],
    ],
    motions: [
        &["hüpft", "springt auf und ab", "prallt vom Boden ab"],
        &[
            "gleitet nach links",
            "bewegt sich nach links",
            "rutscht nach links",
        ],
        &[
            "gleitet nach rechts",
            "bewegt sich nach rechts",
            "rutscht nach rechts",
        ],
        &["gleitet nach oben", "bewegt sich nach oben", "steigt auf"],
        &["gleitet nach unten", "bewegt sich nach unten", "sinkt"],
        &["dreht sich", "rotiert"],
        &["wächst", "wird größer"],
        &["blinkt", "erscheint und verschwindet"],
        &["ruht", "liegt still", "bewegt sich nicht"],
    ],
    grounds: [
        &["vor dunklem Hintergrund", "im Dunkeln", "auf Schwarz"],
        &["vor grauem Hintergrund", "vor einer grauen Wand"],
        &["auf dem Boden", "in einem Zimmer"],
    ],
    sentences: &[
        "a s c n v g.",
        "g: a s c n v.",
        "man sieht: a s c n v g.",
        "s c n v g",
    ],
    article: "ein|eine|ein",
    asides: &["Die Kamera steht still.", "Sonst ist nichts da."],
};

const FRENCH: Words = Words {
    nouns: [
        &["1balle", "1boule", "0disque"],
        &["0carré", "0bloc"],
        &["0triangle"],
        &["1étoile"],
        &["0anneau", "0cerceau"],
    ],
    colours: [
        &["rouge"],
        &["orange"],
        &["jaune"],
        &["vert|verte|vert"],
        &["bleu|bleue|bleu"],
        &["violet|violette|violet", "mauve"],
        &["rose"],
        &["blanc|blanche|blanc"],
    ],
    sizes: [
        &["petit|petite|petit", "minuscule"],
        &["", "", "moyen|moyenne|moyen"],
        &["grand|grande|grand", "gros|grosse|gros"],
    ],
    motions: [
        &["rebondit", "saute", "bondit de haut en bas"],
        &[
            "glisse vers la gauche",
            "se déplace vers la gauche",
            "va à gauche",
        ],
        &[
            "glisse vers la droite",
            "se déplace vers la droite",
            "va à droite",
        ],
        &["glisse vers le haut", "se déplace vers le haut", "monte"],
        &["glisse vers le bas", "se déplace vers le bas", "descend"],
        &["tourne", "pivote", "tourne sur place"],
        &[
            "grandit",
            "devient plus grand|devient plus grande|devient plus grand",
            "grossit",
        ],
        &["clignote", "apparaît et disparaît"],
        &["reste immobile", "ne bouge pas", "se repose"],
    ],
    grounds: [
        &["sur un fond sombre", "dans le noir", "sur fond noir"],
        &["sur un fond gris", "devant un mur gris"],
        &["sur le sol", "dans une pièce"],
    ],
    sentences: &[
        "a s n c v g.",
        "g, a s n c v.",
        "a n c, s, v g.",
        "s n c v g",
    ],
    article: "un|une|un",
    asides: &["La caméra est fixe.", "Il n'y a rien d'autre."],
};

const MANDARIN: Words = Words {
    nouns: [
        &["0球", "0圆球", "0圆形"],
        &["0方块", "0正方形"],
        &["0三角形", "0三角"],
        &["0星星", "0五角星"],
        &["0圆环", "0环"],
    ],
    colours: [
        &["红色的", "红"],
        &["橙色的", "橘色的"],
        &["黄色的", "黄"],
        &["绿色的", "绿"],
        &["蓝色的", "蓝"],
        &["紫色的", "紫"],
        &["粉色的", "粉红色的"],
        &["白色的", "白"],
    ],
    sizes: [&["小", "小小的"], &["", "", "中等的"], &["大", "很大的"]],
    motions: [
        &["弹跳", "蹦蹦跳跳", "上下弹跳"],
        &["向左滑动", "往左移动"],
        &["向右滑动", "往右移动"],
        &["向上滑动", "往上移动", "上升"],
        &["向下滑动", "往下移动", "下降"],
        &["旋转", "转动", "转圈"],
        &["变大", "越来越大"],
        &["闪烁", "一闪一闪", "时隐时现"],
        &["静止不动", "停着不动", "不动"],
    ],
    grounds: [
        &["在黑色背景上", "在黑暗中"],
        &["在灰色背景上", "在灰墙前"],
        &["在地板上", "在房间里"],
    ],
    sentences: &[
        "一个scngv。",
        "g，一个scnv。",
        "一个n，c，s，gv。",
        "scnv，g",
    ],
    article: "",
    asides: &["镜头不动。", "没有别的东西。"],
};

const CANTONESE: Words = Words {
    nouns: [
        &["0波", "0圓球", "0圓形"],
        &["0方塊", "0四方形"],
        &["0三角形", "0三角"],
        &["0星星", "0五角星"],
        &["0圓環", "0圈"],
    ],
    colours: [
        &["紅色嘅", "紅"],
        &["橙色嘅", "橙"],
        &["黃色嘅", "黃"],
        &["綠色嘅", "綠"],
        &["藍色嘅", "藍"],
        &["紫色嘅", "紫"],
        &["粉紅色嘅", "粉紅"],
        &["白色嘅", "白"],
    ],
    sizes: [
        &["細", "細細個", "好細嘅"],
        &["", "", "中等嘅"],
        &["大", "好大嘅"],
    ],
    motions: [
        &["彈嚟彈去", "跳上跳落", "彈下彈下"],
        &["向左滑", "移去左邊"],
        &["向右滑", "移去右邊"],
        &["向上滑", "移去上面", "升起"],
        &["向下滑", "移去下面", "沉落去"],
        &["轉嚟轉去", "轉圈", "打轉"],
        &["變大", "越嚟越大"],
        &["閃下閃下", "一閃一閃", "時有時冇"],
        &["唔郁", "定喺度", "停喺度"],
    ],
    grounds: [
        &["喺黑色背景前面", "喺黑暗入面"],
        &["喺灰色背景前面", "喺灰牆前面"],
        &["喺地板上面", "喺房入面"],
    ],
    sentences: &["一個scngv。", "g，一個scnv。", "有個scn，佢gv。", "scnv，g"],
    article: "",
    asides: &["鏡頭唔郁。", "冇其他嘢。"],
};

const JAPANESE: Words = Words {
    nouns: [
        &["0ボール", "0球", "0円"],
        &["0四角", "0正方形"],
        &["0三角形", "0三角"],
        &["0星", "0星形"],
        &["0輪", "0リング"],
    ],
    colours: [
        &["赤い", "赤色の"],
        &["オレンジ色の", "オレンジの"],
        &["黄色い", "黄色の"],
        &["緑の", "緑色の"],
        &["青い", "青色の"],
        &["紫の", "紫色の"],
        &["ピンクの", "ピンク色の"],
        &["白い", "白色の"],
    ],
    sizes: [
        &["小さい", "小さな"],
        &["", "", "中くらいの"],
        &["大きい", "大きな"],
    ],
    motions: [
        &["跳ねる", "弾む", "ぴょんぴょん跳ねる"],
        &["左へ滑る", "左に動く", "左に移動する"],
        &["右へ滑る", "右に動く", "右に移動する"],
        &["上へ滑る", "上に動く", "上がる"],
        &["下へ滑る", "下に動く", "下がる"],
        &["回る", "回転する", "くるくる回る"],
        &["大きくなる", "だんだん大きくなる"],
        &["点滅する", "ちかちかする", "現れたり消えたりする"],
        &["じっとしている", "動かない", "止まっている"],
    ],
    grounds: [
        &["暗い背景で", "暗闇で"],
        &["灰色の背景で", "灰色の壁の前で"],
        &["床の上で", "部屋の中で"],
    ],
    sentences: &[
        "scnがgv。",
        "g、scnがv。",
        "scnはgv。",
        "gvscn。",
        "scn、v、g",
    ],
    article: "",
    asides: &["カメラは固定。", "ほかには何もない。"],
};

const KOREAN: Words = Words {
    nouns: [
        &["0공이", "0원이"],
        &["0사각형이", "0네모가"],
        &["0삼각형이", "0세모가"],
        &["0별이"],
        &["0고리가", "0링이"],
    ],
    colours: [
        &["빨간", "빨간색"],
        &["주황색", "오렌지색"],
        &["노란", "노란색"],
        &["초록색", "녹색"],
        &["파란", "파란색"],
        &["보라색", "자주색"],
        &["분홍색", "핑크색"],
        &["하얀", "흰"],
    ],
    sizes: [&["작은", "조그만"], &["", "", "중간"], &["큰", "커다란"]],
    motions: [
        &["튄다", "통통 튄다", "튀어 오른다"],
        &["왼쪽으로 미끄러진다", "왼쪽으로 움직인다"],
        &["오른쪽으로 미끄러진다", "오른쪽으로 움직인다"],
        &["위로 미끄러진다", "위로 움직인다", "올라간다"],
        &["아래로 미끄러진다", "아래로 움직인다", "내려간다"],
        &["돈다", "회전한다", "빙글빙글 돈다"],
        &["커진다", "점점 커진다"],
        &["깜박인다", "깜빡거린다", "나타났다 사라진다"],
        &["가만히 있다", "움직이지 않는다", "멈춰 있다"],
    ],
    grounds: [
        &["어두운 배경에서", "어둠 속에서"],
        &["회색 배경에서", "회색 벽 앞에서"],
        &["바닥 위에서", "방 안에서"],
    ],
    sentences: &["s c n g v.", "g s c n v.", "c s n v g", "g, s c n v."],
    article: "",
    asides: &["카메라는 고정되어 있다.", "다른 것은 없다."],
};

/// A prompt for these attributes. Ground and size are not always spoken of; now and then there is an aside.
pub fn prompt(attributes: &Attributes, language: Language, random: &mut Random) -> String {
    let words = language.words();
    let noun = *random.of(words.nouns[attributes.shape as usize]);
    let (gender, noun) = noun.split_at(1);
    let gender = usize::from(gender.as_bytes()[0] - b'0');
    let mut pick = |synonyms: &'static [&'static str]| -> &'static str {
        let word = *random.of(synonyms);
        word.split('|').nth(gender).unwrap_or(word)
    };
    let colour = pick(words.colours[attributes.colour as usize]);
    let size = pick(words.sizes[attributes.size as usize]);
    let motion = pick(words.motions[attributes.motion as usize]);
    let ground = pick(words.grounds[attributes.ground as usize]);
    let article = words
        .article
        .split('|')
        .nth(gender)
        .unwrap_or(words.article);
    let ground = if random.chance(0.6) { ground } else { "" };
    let mut text = String::new();
    // The first letter stands for a word where it stands alone, or between signs that are no letters of ours.
    let sentence = *random.of(words.sentences);
    let is_spaced = sentence.contains(' ');
    let mut rest = sentence;
    while let Some(first) = rest.chars().next() {
        let end = if is_spaced {
            rest.find([' ', '.', ',', ';', ':'])
                .unwrap_or(rest.len())
                .max(1)
        } else {
            first.len_utf8()
        };
        let (word, behind) = rest.split_at(end);
        rest = behind;
        text.push_str(match word {
            "a" => article,
            "s" => size,
            "c" => colour,
            "n" => noun,
            "v" => motion,
            "g" => ground,
            other => other,
        });
    }
    let text = tidy(&text);
    if !random.chance(0.1) {
        return text;
    }
    let (gap, stop) = if is_spaced { (" ", ".") } else { ("", "。") };
    let stop = if text.ends_with(char::is_alphanumeric) {
        stop
    } else {
        ""
    };
    format!("{text}{stop}{gap}{}", random.of(words.asides))
}

/// Without the gaps that words left which were not said, and with a capital in front.
fn tidy(text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (gap, sign) in [
        (" .", "."),
        (" ,", ","),
        (" ;", ";"),
        (" :", ":"),
        (",,", ","),
        ("，，", "，"),
    ] {
        text = text.replace(gap, sign);
    }
    let text = text.trim_matches([' ', ',', ':', '，', '、']).to_string();
    let text = text.replace("，。", "。").replace(",.", ".");
    // The one colour that begins with a vowel.
    let text = text.replace("a orange", "an orange");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Every word of every language, in lower case, each once, the longest first.
pub fn known_words() -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for word in Language::ALL.into_iter().flat_map(vocabulary) {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    known.sort_by_key(|word| std::cmp::Reverse(word.chars().count()));
    known
}

/// The words of `text` that no prompt of the world has, in lower case, each once.
pub fn unknown_words(text: &str) -> Vec<String> {
    let known = known_words();
    let mut unknown: Vec<String> = Vec::new();
    let lower = text.to_lowercase();
    let pieces = lower.split(|c: char| !c.is_alphanumeric() && c != '\'');
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let rest = if piece.chars().all(is_alphabetic_script) {
            if known.iter().any(|word| word == piece) {
                String::new()
            } else {
                piece.to_string()
            }
        } else {
            // Without spaces between words: what remains when all known ones are taken out, the longest first.
            known
                .iter()
                .filter(|word| !word.chars().all(is_alphabetic_script))
                .fold(piece.to_string(), |rest, word| {
                    rest.replace(word.as_str(), " ")
                })
        };
        for word in rest.split_whitespace() {
            if !unknown.iter().any(|other| other == word) {
                unknown.push(word.to_string());
            }
        }
    }
    unknown
}

/// Latin letters and digits: scripts that put spaces between words.
fn is_alphabetic_script(c: char) -> bool {
    (c as u32) < 0x250 || c == '\''
}

impl Language {
    /// Words and phrases as prompts have them, each form of those with several, and sentences without what varies.
    pub fn phrases(self) -> Vec<String> {
        let words = self.words();
        let nouns = words.nouns.iter().copied().flatten().map(|noun| &noun[1..]);
        let tables = [
            &words.colours[..],
            &words.sizes[..],
            &words.motions[..],
            &words.grounds[..],
        ]
        .concat();
        let between = words.sentences.iter().flat_map(|sentence| {
            let parts = sentence.split(|c: char| !c.is_alphanumeric() || c.is_ascii());
            // Of those with spaces the letters that stand for words are words of one letter.
            let spaced = sentence.split([' ', '.', ',', ';', ':']);
            match sentence.contains(' ') {
                true => spaced.filter(|word| word.len() > 1).collect::<Vec<_>>(),
                false => parts.collect(),
            }
        });
        let others = tables.into_iter().flatten().copied();
        let all = nouns.chain(others).chain(words.asides.iter().copied());
        let all = all.chain(between);
        let forms = all.chain([words.article]).flat_map(|word| word.split('|'));
        forms
            .filter(|form| !form.is_empty())
            .map(str::to_string)
            .collect()
    }
}

/// Every word of a language, in lower case, those of its sentences too.
fn vocabulary(language: Language) -> Vec<String> {
    let words = language.words();
    let nouns = words.nouns.iter().copied().flatten().map(|noun| &noun[1..]);
    let others = [
        &words.colours[..],
        &words.sizes[..],
        &words.motions[..],
        &words.grounds[..],
    ]
    .concat();
    let others = others.into_iter().flatten().copied();
    // Between words: whole words where there are spaces, else what stands between the letters.
    let plain = words.sentences.iter().flat_map(|sentence| {
        let is_spaced = sentence.contains(' ');
        let parts = sentence.split(move |c: char| match is_spaced {
            true => !c.is_alphanumeric(),
            false => "ascnvg".contains(c),
        });
        parts.filter(move |part| !is_spaced || part.len() > 1)
    });
    let all = nouns
        .chain(others)
        .chain(plain)
        .chain([words.article, "an"])
        .chain(words.asides.iter().copied());
    let all = all.flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '\''));
    all.filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{Colour, Ground, Motion, Shape, Size};

    #[test]
    fn every_prompt_is_whole_and_known() {
        let mut random = Random::new(3, 0);
        for _ in 0..3000 {
            let attributes = Attributes::random(&mut random);
            for language in Language::ALL {
                let text = prompt(&attributes, language, &mut random);
                assert!(text.chars().count() > 4, "{text}");
                assert!(!text.contains("  ") && !text.contains('|'), "{text}");
                assert_eq!(unknown_words(&text), Vec::<String>::new(), "{text}");
            }
        }
    }

    #[test]
    fn words_nobody_taught_are_named_once() {
        assert_eq!(
            unknown_words("A red cat on a skateboard, a cat"),
            ["cat", "skateboard"]
        );
        assert_eq!(unknown_words("红色的猫在地板上弹跳"), ["猫"]);
        assert_eq!(unknown_words("ein roter Ball hüpft"), Vec::<String>::new());
    }

    #[test]
    fn words_say_what_is_meant_in_one_way_only() {
        // A word of one attribute must not mean another one in the same language.
        for language in Language::ALL {
            let words = language.words();
            for table in [&words.colours[..], &words.motions[..], &words.grounds[..]] {
                for (i, synonyms) in table.iter().enumerate() {
                    for (j, others) in table.iter().enumerate() {
                        let shared = synonyms.iter().any(|word| others.contains(word));
                        assert!(
                            i == j || !shared,
                            "{language:?}: {synonyms:?} and {others:?}"
                        );
                    }
                }
            }
        }
        assert_eq!(
            Shape::ALL.len()
                + Colour::ALL.len()
                + Size::ALL.len()
                + Motion::ALL.len()
                + Ground::ALL.len(),
            28
        );
    }
}
