//! Frames of a scene: every pixel covered as far as the subject covers it.

use crate::scene::{FPS, Pose, Scene, Shape};

/// Frame `index` of `scene`, `side` x `side` pixels of red, green, blue, appended to `to`.
pub fn frame(scene: &Scene, index: usize, side: usize, to: &mut Vec<u8>) {
    let pose = scene.pose(index as f64 / FPS);
    let attributes = scene.attributes;
    let rgb = attributes.colour.rgb();
    let pixel = 1.0 / side as f64;
    for row in 0..side {
        let y = (row as f64 + 0.5) * pixel;
        let grey = attributes.ground.grey(y);
        for col in 0..side {
            let x = (col as f64 + 0.5) * pixel;
            // Most pixels are far outside.
            let is_near = (x - pose.x).hypot(y - pose.y) < pose.radius + pixel;
            let cover = if pose.is_visible && is_near {
                (0.5 - distance(attributes.shape, &pose, x, y) / pixel).clamp(0.0, 1.0)
            } else {
                0.0
            };
            to.extend(rgb.map(|c| {
                (f64::from(grey) + (f64::from(c) - f64::from(grey)) * cover).round() as u8
            }));
        }
    }
}

/// Signed distance from the subject's edge, in parts of a frame's side, negative inside.
pub fn distance(shape: Shape, pose: &Pose, x: f64, y: f64) -> f64 {
    let (dx, dy) = (x - pose.x, y - pose.y);
    let r = pose.radius;
    let away = dx.hypot(dy);
    match shape {
        Shape::Ball => away - 0.94 * r,
        Shape::Ring => (away - 0.71 * r).abs() - 0.25 * r,
        Shape::Square => polygon(4, 0.0, std::f64::consts::FRAC_PI_4, pose, dx, dy),
        Shape::Triangle => polygon(3, 0.0, 0.0, pose, dx, dy),
        Shape::Star => polygon(5, 0.46, 0.0, pose, dx, dy),
    }
}

/// Distance from a regular polygon of `corners` on the circle of the pose's radius, the first on top, turned by `turn`;
/// with `inner` a star whose inner corners lie on that part of the radius.
fn polygon(corners: usize, inner: f64, turn: f64, pose: &Pose, dx: f64, dy: f64) -> f64 {
    use std::f64::consts::TAU;
    // Angle from the nearest corner, and that corner's neighbour: the middle of an edge, or an inner corner.
    let step = TAU / corners as f64;
    let angle = (dx.atan2(-dy) - pose.angle - turn).rem_euclid(step);
    let angle = angle.min(step - angle);
    let away = dx.hypot(dy);
    let (px, py) = (away * angle.sin(), away * angle.cos());
    let r = pose.radius;
    let half = step / 2.0;
    let end = if inner > 0.0 {
        inner * r
    } else {
        r * half.cos()
    };
    let (ex, ey) = (end * half.sin(), end * half.cos());
    // The line from (0, r) to (ex, ey); outside is to its right.
    let (lx, ly) = (ex, ey - r);
    let length = lx.hypot(ly);
    let along = ((px * lx + (py - r) * ly) / (length * length)).clamp(0.0, 1.0);
    let (nx, ny) = (px - lx * along, py - r - ly * along);
    let is_outside = lx * (py - r) - ly * px > 0.0;
    nx.hypot(ny) * if is_outside { 1.0 } else { -1.0 }
}
