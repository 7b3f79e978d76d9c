//! The same plot as SVG, with the positions that were measured as dots.

use super::plot::Axes;
use super::{Method, Record};
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Room for labels: left, top, right, bottom.
const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const RIGHT: f64 = 190.0;
const BOTTOM: f64 = 60.0;

/// A colour for each method, told apart by the colour-blind too (Okabe and Ito).
const COLOURS: [&str; 5] = ["#009e73", "#000000", "#d55e00", "#0072b2", "#cc79a7"];

/// The picture.
pub(crate) fn draw(record: &Record) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">Cost of a packet to the last of so many Services</text>\n"
    );
    if let Some(axes) = Axes::of(record) {
        grid(&mut svg, &axes);
        for (at, (method, colour)) in record.methods.iter().zip(COLOURS).enumerate() {
            line(&mut svg, &axes, method, colour);
            dots(&mut svg, &axes, record, method, colour);
            let (x, y) = (WIDTH - RIGHT + 14.0, TOP + 20.0 + 22.0 * at as f64);
            writeln!(
                svg,
                "<path d=\"M{x} {y}h22\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\">{}</text>",
                x + 28.0,
                y + 4.0,
                escaped(method.method)
            )
            .ok();
        }
    }
    svg + "</svg>\n"
}

fn spot(axes: &Axes, services: f64, ns: f64) -> (f64, f64) {
    let (across, up) = axes.place(services, ns);
    (
        LEFT + across * (WIDTH - LEFT - RIGHT),
        HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
    )
}

fn grid(svg: &mut String, axes: &Axes) {
    let (low, high) = axes.ns;
    for power in (low as i32)..=(high as i32) {
        let (x, y) = spot(axes, 10f64.powf(axes.services.0), 10f64.powi(power));
        let label = match power {
            ..=2 => format!("{} ns", 10f64.powi(power)),
            3..=5 => format!("{} µs", 10f64.powi(power - 3)),
            _ => format!("{} ms", 10f64.powi(power - 6)),
        };
        writeln!(
            svg,
            "<path d=\"M{x:.1} {y:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - RIGHT,
            x - 8.0,
            y + 4.0
        )
        .ok();
    }
    let (low, high) = axes.services;
    for power in (low as i32)..=(high as i32) {
        let (x, y) = spot(axes, 10f64.powi(power), 10f64.powf(axes.ns.0));
        writeln!(
            svg,
            "<path d=\"M{x:.1} {y:.1}V{TOP}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            y + 18.0,
            10f64.powi(power)
        )
        .ok();
    }
    let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
    let bottom = HEIGHT - 18.0;
    writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\">Services</text>"
    )
    .ok();
}

/// The projection: many short pieces, because a line is none on logarithmic axes.
fn line(svg: &mut String, axes: &Axes, method: &Method, colour: &str) {
    let mut path = String::new();
    for projected in &method.projected {
        let (x, y) = spot(axes, projected.services as f64, projected.ns);
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{x:.1} {y:.1}").ok();
    }
    if !path.is_empty() {
        writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        )
        .ok();
    }
}

/// What was measured, where the axes reach.
fn dots(svg: &mut String, axes: &Axes, record: &Record, method: &Method, colour: &str) {
    let rules_each = f64::from(record.positions) / record.services.max(1) as f64;
    let least = 10f64.powf(axes.services.0);
    for point in &method.points {
        let services = point.position / rules_each.max(1e-9);
        if services >= least && point.position <= f64::from(record.positions) {
            let (x, y) = spot(axes, services, point.ns);
            writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            )
            .ok();
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_method_has_a_line_a_name_and_its_dots() {
        let svg = draw(&sample());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("fill=\"none\"").count(), 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(svg.contains(">linear walk</text>"));
    }
}
