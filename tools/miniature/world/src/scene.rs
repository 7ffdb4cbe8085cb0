//! What a clip shows: the subject, its colour, size and motion, and where it is at a time.

use crate::random::Random;

/// Frames a second, as the model has them.
pub const FPS: f64 = 25.0;

/// Height of the floor, on which things bounce.
pub const FLOOR: f64 = 0.84;

/// How far from the middle a subject may be where nothing else says where it is.
const SPREAD: f64 = 0.1;

/// Seconds to the first bounce or blink, and from one to the next: whole frames, so that a frame shows what is heard.
const FIRST: f64 = 0.28;
const PERIOD: f64 = 0.64;

/// Radians a second of a spin, clockwise.
const SPEED: f64 = 2.1;

/// Seconds until what slides is there.
const ARRIVAL: f64 = 1.12;

/// Free room between a subject and the frame's edge.
const MARGIN: f64 = 0.03;

/// The form of the subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Ball,
    Square,
    Triangle,
    Star,
    Ring,
}

/// Its colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    White,
}

/// How large it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Motion {
    Bounce,
    Left,
    Right,
    Up,
    Down,
    Spin,
    Grow,
    Blink,
    Rest,
}

/// What is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    Dark,
    Grey,
    /// A lighter wall over a darker floor.
    Floor,
}

impl Shape {
    pub const ALL: [Self; 5] = [
        Self::Ball,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Ring,
    ];

    /// Whether one sees it turn.
    pub fn shows_turns(self) -> bool {
        !matches!(self, Self::Ball | Self::Ring)
    }
}

impl Colour {
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::White,
    ];

    /// Red, green, blue.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 40, 40],
            Self::Orange => [240, 130, 20],
            Self::Yellow => [240, 220, 40],
            Self::Green => [50, 190, 70],
            Self::Blue => [50, 110, 230],
            Self::Purple => [130, 50, 200],
            Self::Pink => [250, 140, 190],
            Self::White => [240, 240, 240],
        }
    }
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// Radius of the circle around it.
    pub fn radius(self) -> f64 {
        match self {
            Self::Small => 0.13,
            Self::Medium => 0.17,
            Self::Large => 0.215,
        }
    }
}

impl Motion {
    pub const ALL: [Self; 9] = [
        Self::Bounce,
        Self::Left,
        Self::Right,
        Self::Up,
        Self::Down,
        Self::Spin,
        Self::Grow,
        Self::Blink,
        Self::Rest,
    ];

    /// Whether the subject hits something or appears.
    pub fn has_contacts(self) -> bool {
        !matches!(self, Self::Spin | Self::Grow | Self::Rest)
    }
}

impl Ground {
    pub const ALL: [Self; 3] = [Self::Dark, Self::Grey, Self::Floor];

    /// Its grey at a height of the frame, 0 on top.
    pub fn grey(self, y: f64) -> u8 {
        match self {
            Self::Dark => 24,
            Self::Grey => 84,
            Self::Floor if y < FLOOR => 72,
            Self::Floor => 34,
        }
    }
}

/// What a prompt speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    pub shape: Shape,
    pub colour: Colour,
    pub size: Size,
    pub motion: Motion,
    pub ground: Ground,
}

impl Attributes {
    /// Any that one can see.
    pub fn random(random: &mut Random) -> Self {
        loop {
            let all = Self {
                shape: *random.of(&Shape::ALL),
                colour: *random.of(&Colour::ALL),
                size: *random.of(&Size::ALL),
                motion: *random.of(&Motion::ALL),
                ground: *random.of(&Ground::ALL),
            };
            if all.motion != Motion::Spin || all.shape.shows_turns() {
                return all;
            }
        }
    }

    /// Whether training never sees this combination of shape, colour and motion: one in eight, spread so that every
    /// shape, colour and motion occurs on both sides.
    pub fn is_held_out(&self) -> bool {
        (self.shape as usize * 3 + self.colour as usize * 5 + self.motion as usize)
            .is_multiple_of(8)
    }
}

/// A clip before it is drawn: attributes, and what chance adds to them.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub attributes: Attributes,
    /// Length, seconds.
    pub seconds: f64,
    /// Where it is at rest: of a bounce and a slide the part that does not move.
    at: [f64; 2],
    /// The first contact.
    first: f64,
    /// Height of a bounce, or radians a second of a spin.
    reach: f64,
}

/// The subject in one moment.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    pub x: f64,
    pub y: f64,
    pub radius: f64,
    /// Radians, clockwise.
    pub angle: f64,
    pub is_visible: bool,
}

impl Scene {
    /// A scene with these attributes.
    pub fn new(attributes: Attributes, seconds: f64, random: &mut Random) -> Self {
        let radius = attributes.size.radius();
        // Not everywhere: what no prompt says the network must make up in a few steps.
        let at = [
            random.within(0.5 - SPREAD, 0.5 + SPREAD),
            random.within(0.5 - SPREAD, 0.5 + SPREAD),
        ];
        let (first, reach) = match attributes.motion {
            Motion::Bounce => {
                let highest = FLOOR - 2.0 * radius - MARGIN;
                (FIRST, random.within(0.3, highest.min(0.4)))
            }
            Motion::Blink => (FIRST, 0.0),
            Motion::Spin => (0.0, SPEED),
            Motion::Left | Motion::Right | Motion::Up | Motion::Down => (ARRIVAL, 0.0),
            Motion::Grow | Motion::Rest => (0.0, 0.0),
        };
        Self {
            attributes,
            seconds,
            at,
            first,
            reach,
        }
    }

    /// Times at which it hits something or appears: what one hears.
    pub fn contacts(&self) -> Vec<f64> {
        match self.attributes.motion {
            Motion::Bounce | Motion::Blink => {
                let mut times = Vec::new();
                let mut time = self.first;
                while time < self.seconds {
                    times.push(time);
                    time += PERIOD;
                }
                times
            }
            Motion::Left | Motion::Right | Motion::Up | Motion::Down => vec![self.first],
            Motion::Spin | Motion::Grow | Motion::Rest => Vec::new(),
        }
    }

    /// Where the subject is at `time`.
    pub fn pose(&self, time: f64) -> Pose {
        let radius = self.attributes.size.radius();
        let mut pose = Pose {
            x: self.at[0],
            y: self.at[1],
            radius,
            angle: 0.0,
            is_visible: true,
        };
        // From one wall, until `first`, to the other.
        let (near, far) = (radius + MARGIN, 1.0 - radius - MARGIN);
        let done = (time / self.first.max(1e-9)).min(1.0);
        match self.attributes.motion {
            Motion::Bounce => {
                let part = ((time - self.first) / PERIOD).rem_euclid(1.0);
                pose.y = FLOOR - radius - self.reach * 4.0 * part * (1.0 - part);
            }
            Motion::Left => pose.x = far + (near - far) * done,
            Motion::Right => pose.x = near + (far - near) * done,
            Motion::Up => pose.y = far + (near - far) * done,
            Motion::Down => pose.y = near + (far - near) * done,
            Motion::Spin => pose.angle = self.reach * time,
            Motion::Grow => pose.radius = radius * (0.55 + 1.05 * time / self.seconds),
            Motion::Blink => {
                // A hair later, so that rounding does not hide it in the frame of its appearance.
                let part = ((time + 1e-6 - self.first) / PERIOD).rem_euclid(1.0);
                pose.is_visible = part < 0.55;
            }
            Motion::Rest => {}
        }
        pose
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_occurs_on_both_sides_of_the_split() {
        let mut random = Random::new(1, 0);
        let all: Vec<Attributes> = (0..20_000)
            .map(|_| Attributes::random(&mut random))
            .collect();
        let held = all.iter().filter(|a| a.is_held_out()).count();
        assert!((1500..4000).contains(&held), "{held}");
        for side in [false, true] {
            let some: Vec<_> = all.iter().filter(|a| a.is_held_out() == side).collect();
            assert!(
                Shape::ALL
                    .iter()
                    .all(|s| some.iter().any(|a| a.shape == *s))
            );
            assert!(
                Colour::ALL
                    .iter()
                    .all(|c| some.iter().any(|a| a.colour == *c))
            );
            assert!(
                Motion::ALL
                    .iter()
                    .all(|m| some.iter().any(|a| a.motion == *m))
            );
        }
    }

    #[test]
    fn the_subject_stays_inside_and_contacts_are_where_they_should_be() {
        let mut random = Random::new(2, 0);
        for _ in 0..2000 {
            let scene = Scene::new(Attributes::random(&mut random), 1.96, &mut random);
            for frame in 0..49 {
                let pose = scene.pose(f64::from(frame) / FPS);
                for at in [pose.x, pose.y] {
                    assert!(
                        at - pose.radius >= 0.0 && at + pose.radius <= 1.0,
                        "{scene:?} {pose:?}"
                    );
                }
            }
            for time in scene.contacts() {
                // A hair later, so that rounding does not put it before the contact.
                let pose = scene.pose(time + 1e-9);
                let gap = match scene.attributes.motion {
                    Motion::Bounce => FLOOR - pose.y - pose.radius,
                    Motion::Left => pose.x - pose.radius - MARGIN,
                    Motion::Right => 1.0 - MARGIN - pose.x - pose.radius,
                    Motion::Up => pose.y - pose.radius - MARGIN,
                    Motion::Down => 1.0 - MARGIN - pose.y - pose.radius,
                    _ => f64::from(!pose.is_visible),
                };
                assert!(gap.abs() < 1e-5, "{scene:?} at {time}: {gap}");
            }
        }
    }
}
