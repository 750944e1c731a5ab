//! Owns the chart: how many times the CPU of Hearth Synapse takes, a bar a scenario, on a scale of powers of ten.

use std::fmt::Write as _;

use crate::{measure::Sample, report::ratio};

const WIDTH: f64 = 720.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 60.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;

/// The chart as SVG.
pub(crate) fn draw(samples: &[Sample]) -> String {
    let hearth = samples.iter().filter(|sample| sample.server == "hearth");
    let bars: Vec<(&str, f64)> = hearth
        .filter_map(|sample| Some((sample.scenario.as_str(), ratio(samples, &sample.scenario)?)))
        .collect();
    let most = bars.iter().map(|(_, times)| *times).fold(10.0, f64::max);
    let decades = most.log10().ceil();
    let x = |times: f64| LEFT + (WIDTH - LEFT - RIGHT) * (times.max(1.0).log10() / decades);
    let rows = bars.iter().map(|_| ROW).sum::<f64>();
    let height = TOP + rows + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">CPU seconds of Synapse with PostgreSQL, as a multiple of Hearth's</text>\n"
    );
    let mut times = 1.0;
    while times <= 10_f64.powf(decades) {
        let at = x(times);
        // Writing to a string does not fail.
        writeln!(
            svg,
            "<line x1=\"{at}\" x2=\"{at}\" y1=\"{}\" y2=\"{}\" stroke=\"#ccc\"/>\
             <text x=\"{at}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{times}</text>",
            TOP - 6.0,
            TOP + rows,
            TOP - 10.0
        )
        .ok();
        times *= 10.0;
    }
    let mut y = TOP;
    for (name, times) in bars {
        let end = x(times);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"#d2622a\"/>\
             <text x=\"{}\" y=\"{}\">{times:.0}</text>",
            LEFT - 8.0,
            y + 16.0,
            y + 3.0,
            end - LEFT,
            ROW - 8.0,
            end + 6.0,
            y + 16.0
        )
        .ok();
        y += ROW;
    }
    svg + "</svg>\n"
}
