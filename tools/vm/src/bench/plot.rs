// SPDX-License-Identifier: GPL-2.0

//! Draws what an operation costs against how many there are, a panel for each operation; and
//! the whole way against how many fragments there are.

use super::operation::Operation;
use super::Luo;
use anyhow::Result;
use indicatif::HumanCount;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::fs;
use std::path::Path;

const LICENCE: &str = "<!-- SPDX-License-Identifier: GPL-2.0 -->\n";
const COLUMNS: usize = 2;
const PANEL: (u32, u32) = (480, 320);

/// A line of a plot: its points, its name, its colour.
type Line = (Vec<(u64, f64)>, &'static str, RGBColor);

/// Draws the plotted ones of `operations`, of which `points` knows N and cost.
pub fn draw(
    path: &Path,
    operations: &[&Operation],
    points: impl Fn(Luo, &Operation) -> Vec<(u64, f64)>,
) -> Result<()> {
    let plotted: Vec<_> = operations.iter().filter(|it| it.plotted).collect();
    let rows = plotted.len().div_ceil(COLUMNS).max(1);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32);
    save(path, size, |root| {
        for (operation, area) in plotted.iter().zip(root.split_evenly((rows, COLUMNS))) {
            let lines = [(Luo::C, "C", RED), (Luo::Rust, "Rust", BLUE)]
                .map(|(luo, name, colour)| (points(luo, operation), name, colour));
            panel(&area, operation.title, "N", (1, 100.0), lines)?;
        }
        Ok(())
    })
}

/// Draws what the whole way costs against the number of fragments, both of which `points` knows.
pub fn draw_blackout(path: &Path, points: impl Fn(Luo) -> Vec<(u64, f64)>) -> Result<()> {
    let lines = [(Luo::Stock, "stock", RED), (Luo::Rust, "Rust", BLUE)]
        .map(|(luo, name, colour)| (points(luo), name, colour));
    let size = (PANEL.0 * 3 / 2, PANEL.1 * 3 / 2);
    save(path, size, |root| {
        let title = "blackout, one memfd in scattered pages";
        panel(root, title, "fragments", (1_000, 1e8), lines)
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn save(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area) -> Result<()>) -> Result<()> {
    let mut svg = LICENCE.to_owned();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
    }
    Ok(fs::write(path, svg)?)
}

/// Draws one diagram, log-log, whose axes begin at `least`.
fn panel(area: &Area, title: &str, what: &str, least: (u64, f64), lines: [Line; 2]) -> Result<()> {
    let all = || lines.iter().flat_map(|(points, ..)| points);
    let most = all().map(|point| point.0).max().unwrap_or(1);
    let most = most.max(least.0 * 10);
    let dearest = all().map(|point| point.1).fold(least.1 * 100.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (least.0..most).log_scale(),
            (least.1..dearest * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(what)
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
    Ok(())
}
