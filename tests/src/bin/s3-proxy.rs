//! The proxy as a program of its own, for benches: `s3-proxy --to 127.0.0.1:8333 --delay 20ms [--storm SEED:PER_THOUSAND]`.
//! Says where it listens in one line on standard output, and serves until it is ended.

use leadglass_tests::proxy::{Script, forever};
use std::error::Error;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut to, mut delay, mut listen, mut script) = (None, Duration::ZERO, "127.0.0.1:0".to_owned(), Script::Calm);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} wants a value"))?;
        match argument.as_str() {
            "--to" => to = Some(value.parse::<SocketAddr>()?),
            "--delay" => {
                delay = Duration::from_millis(value.strip_suffix("ms").ok_or("a delay such as 20ms")?.parse()?)
            }
            "--listen" => listen = value,
            "--storm" => {
                let (seed, rate) = value.split_once(':').ok_or("--storm SEED:PER_THOUSAND")?;
                script = Script::Storm(seed.parse()?, rate.parse()?);
            }
            other => return Err(format!("{other} is unknown: --to, --delay, --listen, --storm").into()),
        }
    }
    let to = to.filter(|to| to.ip().is_loopback()).ok_or("--to wants an address of this machine")?;
    let listener = TcpListener::bind(listen)?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err("--listen wants an address of this machine".into());
    }
    writeln!(std::io::stdout(), "{address}")?;
    Ok(forever(listener, to, delay, script)?)
}
