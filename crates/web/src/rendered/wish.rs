//! What the query of a rendered resource wishes (PS3.18 §8.3.5.1).

use crate::Problem;
use leadglass_imaging::render::{Format, Function, Viewport, Window, Wish};
use leadglass_model::Fault;

/// The parameters, each at most once. Others are for others: `accept` is read elsewhere, `annotation` wishes for
/// what is not drawn, which a server may leave out, and `iccprofile` for what is put in behind the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Asked {
    viewport: Option<Viewport>,
    window: Option<Window>,
    quality: Option<u8>,
}

impl Asked {
    /// Reads a query.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            let twice = match &*name {
                "viewport" => asked.viewport.replace(viewport(&value)?).is_some(),
                "window" => asked.window.replace(window(&value)?).is_some(),
                "quality" => asked.quality.replace(quality(&value)?).is_some(),
                _ => false,
            };
            if twice {
                return Err(refused(format!("The parameter {name} stands there twice.")));
            }
        }
        Ok(asked)
    }

    /// What is wished for, in this format; `usual` where no viewport was named.
    pub(super) fn wish(&self, format: Format, usual: Option<Viewport>) -> Wish {
        Wish {
            window: self.window,
            viewport: self.viewport.or(usual),
            quality: self.quality.unwrap_or(USUAL_QUALITY),
            format,
        }
    }
}

/// What to tell whoever wishes for what is not drawn (PS3.18 §8.3.5.1.1, §8.3.5.1.5): a picture without it is right, and
/// must not be taken for one that says all.
pub(super) fn undrawn(query: Option<&str>, bears_profile: bool) -> Option<&'static str> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or("").as_bytes());
    pairs.find_map(|(name, value)| match (&*name, &*value) {
        ("annotation", _) => Some("299 leadglass \"No annotations are drawn into pictures.\""),
        ("iccprofile", "no") => None,
        ("iccprofile", _) if !bears_profile => {
            Some("299 leadglass \"No colour profile is put in: the samples are those of the instance.\"")
        }
        _ => None,
    })
}

/// `vw,vh` or `vw,vh,sx,sy,sw,sh`; of the latter four, those left empty mean the whole side.
fn viewport(text: &str) -> Result<Viewport, Problem> {
    let refused = || {
        refused(format!(
            "The parameter viewport is width,height or width,height,left,top,width,height; width and height of the \
             viewport are whole numbers from 1 to {MAX_SIDE}."
        ))
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let (size, region) = parts.split_at_checked(2).ok_or_else(refused)?;
    let side = |text: &&str| text.parse::<u32>().ok().filter(|side| (1..=MAX_SIDE).contains(side)).ok_or_else(refused);
    let [width, height] = size else { return Err(refused()) };
    let (width, height) = (side(width)?, side(height)?);
    let mut place = [0.0; 4];
    if !region.is_empty() {
        if region.len() != place.len() {
            return Err(refused());
        }
        for (index, (slot, text)) in place.iter_mut().zip(region).enumerate() {
            if text.is_empty() {
                continue;
            }
            let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && n.abs() <= f64::from(u32::MAX));
            let number = number.ok_or_else(refused)?;
            // Left and top count from the corner, width and height may mirror but not vanish.
            if (index < 2 && number < 0.0) || (index >= 2 && number == 0.0) {
                return Err(refused());
            }
            *slot = number;
        }
    }
    Ok(Viewport { width, height, region: place, enlarge: true })
}

/// `center,width,function`.
fn window(text: &str) -> Result<Window, Problem> {
    let refused = || {
        refused(
            "The parameter window is center,width,function; the function is linear, linear-exact or sigmoid, a width is \
             above 0, of linear at least 1.",
        )
    };
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [center, width, function] = parts.as_slice() else { return Err(refused()) };
    let number = |text: &str| text.parse::<f64>().map_err(|_| refused());
    let function = match function.to_ascii_lowercase().as_str() {
        "linear" => Function::Linear,
        "linear-exact" | "linear_exact" => Function::LinearExact,
        "sigmoid" => Function::Sigmoid,
        _ => return Err(refused()),
    };
    Window::new(number(center)?, number(width)?, function).ok_or_else(refused)
}

fn quality(text: &str) -> Result<u8, Problem> {
    let quality = text.trim().parse::<u8>().ok().filter(|quality| (1..=100).contains(quality));
    quality.ok_or_else(|| refused("The parameter quality is a whole number from 1 to 100."))
}

fn refused(sentence: impl Into<String>) -> Problem {
    Problem::new(Fault::BadInput, "parameter", sentence)
}

const USUAL_QUALITY: u8 = 90;
/// Columns and rows of a viewport.
const MAX_SIDE: u32 = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_the_standard_has_them() {
        let asked =
            Asked::parse(Some("viewport=300,200,10.5,,-40,30&window=40,400,linear&quality=75&annotation=patient"));
        let wish = asked.unwrap().wish(Format::Png, None);
        let viewport = Viewport { width: 300, height: 200, region: [10.5, 0.0, -40.0, 30.0], enlarge: true };
        assert_eq!(wish.viewport, Some(viewport));
        assert_eq!(wish.window, Window::new(40.0, 400.0, Function::Linear));
        assert_eq!(wish.quality, 75);
        assert_eq!(Asked::parse(None).unwrap().wish(Format::Jpeg, None).quality, USUAL_QUALITY);
    }

    #[test]
    fn who_wishes_for_what_is_not_drawn_is_told() {
        assert!(
            undrawn(Some("quality=5&annotation=patient,technique"), true)
                .is_some_and(|told| told.contains("annotations"))
        );
        assert!(undrawn(Some("iccprofile=srgb"), false).is_some_and(|told| told.contains("profile")));
        assert_eq!(undrawn(Some("iccprofile=srgb"), true), None);
        for query in [None, Some(""), Some("iccprofile=no"), Some("window=1,2,linear")] {
            assert_eq!(undrawn(query, false), None, "{query:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for query in [
            "viewport=",
            "viewport=10",
            "viewport=0,10",
            "viewport=10,99999",
            "viewport=10,10,1",
            "viewport=10,10,-1,0,5,5",
            "viewport=10,10,0,0,0,5",
            "viewport=10,10,nan,0,5,5",
            "viewport=a,b",
            "window=40,400",
            "window=40,400,cubic",
            "window=40,0.5,linear",
            "window=inf,1,sigmoid",
            "window=1,0,sigmoid",
            "quality=0",
            "quality=101",
            "quality=x",
            "quality=5&quality=6",
        ] {
            assert!(Asked::parse(Some(query)).is_err(), "{query}");
        }
    }
}
