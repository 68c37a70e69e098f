// SPDX-License-Identifier: GPL-2.0

//! Draws what an operation costs against how many there are, a panel for each operation.

use super::operation::Operation;
use super::Luo;
use anyhow::Result;
use indicatif::HumanCount;
use plotters::prelude::*;
use std::fs;
use std::path::Path;

const LICENCE: &str = "<!-- SPDX-License-Identifier: GPL-2.0 -->\n";
const COLUMNS: usize = 2;
const PANEL: (u32, u32) = (480, 320);

/// Draws the plotted ones of `operations`, of which `points` knows N and cost.
pub fn draw(
    path: &Path,
    operations: &[&Operation],
    points: impl Fn(Luo, &Operation) -> Vec<(u64, f64)>,
) -> Result<()> {
    let plotted: Vec<_> = operations.iter().filter(|it| it.plotted).collect();
    let rows = plotted.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32);
    let mut svg = LICENCE.to_owned();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        for (operation, area) in plotted.iter().zip(root.split_evenly((rows, COLUMNS))) {
            let lines = [(Luo::C, "C", RED), (Luo::Rust, "Rust", BLUE)]
                .map(|(luo, name, colour)| (points(luo, operation), name, colour));
            let all = || lines.iter().flat_map(|(points, ..)| points);
            let most = all().map(|point| point.0).max().unwrap_or(1).max(10);
            let dearest = all().map(|point| point.1).fold(10_000.0, f64::max);
            let mut chart = ChartBuilder::on(&area)
                .caption(operation.title, ("sans-serif", 16))
                .margin(12)
                .x_label_area_size(36)
                .y_label_area_size(72)
                .build_cartesian_2d((1..most).log_scale(), (100.0..dearest * 2.0).log_scale())?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .x_desc("N")
                .y_desc("instructions")
                .x_label_formatter(&|n| HumanCount(*n).to_string())
                .y_label_formatter(&|cost| HumanCount(*cost as u64).to_string())
                .draw()?;
            for (points, name, colour) in lines {
                chart
                    .draw_series(LineSeries::new(points, &colour).point_size(3))?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .border_style(BLACK)
                .draw()?;
        }
        root.present()?;
    }
    Ok(fs::write(path, svg)?)
}
