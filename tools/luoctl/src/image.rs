// SPDX-License-Identifier: GPL-2.0

//! What can be told of a kernel from its image: from the configuration in it (`IKCONFIG`), or
//! from its strings.

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;
use memchr::memmem::{self, Finder};
use ruzstd::decoding::StreamingDecoder;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

/// How every kernel introduces itself.
const BANNER: &[u8] = b"Linux version ";
/// What both LUOs log when they are handed anything over, word for word.
const LUO: &[u8] = b"Retrieved live update data, liveupdate number: ";
/// How the name of a format begins.
const FORMAT: &[u8] = b"luo-";
/// What stands in front of a configuration.
const CONFIG: &[u8] = b"IKCFG_ST";
/// No kernel is larger than that.
const LIMIT: u64 = 1 << 30;

/// How a compressed kernel begins, and how it is read.
type Compression = (&'static [u8], fn(&[u8]) -> io::Result<Vec<u8>>);
const COMPRESSIONS: [Compression; 3] = [
    (b"\x1f\x8b\x08", |data| all_of(GzDecoder::new(data))),
    (b"\xfd7zXZ\0", |data| all_of(XzReader::new(data, false))),
    (b"\x28\xb5\x2f\xfd", |data| {
        all_of(StreamingDecoder::new(data).map_err(io::Error::other)?)
    }),
];

fn all_of(data: impl Read) -> io::Result<Vec<u8>> {
    let mut all = vec![];
    data.take(LIMIT).read_to_end(&mut all)?;
    Ok(all)
}

/// A kernel, not compressed.
pub struct Kernel(Vec<u8>);

impl Kernel {
    /// Finds the kernel in an image of any architecture; `None` if it is compressed in another
    /// way than by gzip, xz or zstd.
    pub fn in_image(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::find(fs::read(path)?))
    }

    /// Finds it in these bytes.
    pub fn find(image: Vec<u8>) -> Option<Self> {
        let is_kernel = |data: &[u8]| {
            memmem::find_iter(data, BANNER)
                .any(|at| data.get(at + BANNER.len()).is_some_and(u8::is_ascii_digit))
        };
        if is_kernel(&image) {
            return Some(Self(image));
        }
        COMPRESSIONS.iter().find_map(|(magic, decompress)| {
            memmem::find_iter(&image, magic)
                .filter_map(|at| decompress(&image[at..]).ok())
                .find(|data| is_kernel(data))
                .map(Self)
        })
    }

    fn has(&self, text: &[u8]) -> bool {
        memmem::find(&self.0, text).is_some()
    }

    /// Its release.
    pub fn release(&self) -> Option<String> {
        memmem::find_iter(&self.0, BANNER)
            .map(|at| &self.0[at + BANNER.len()..])
            .find(|text| text.first().is_some_and(u8::is_ascii_digit))
            .and_then(|text| text.split(|&byte| byte == b' ').next())
            .map(|release| String::from_utf8_lossy(release).into_owned())
    }

    /// Its configuration, if it is in the image.
    pub fn config(&self) -> Option<Config> {
        let at = memmem::find(&self.0, CONFIG)? + CONFIG.len();
        Config::gzipped(&self.0[at..]).ok()
    }

    /// Whether it has the strings of a LUO.
    pub fn has_luo(&self) -> bool {
        self.has(LUO)
    }

    /// The formats of hand-overs that its strings name.
    pub fn formats(&self) -> BTreeSet<String> {
        Finder::new(FORMAT)
            .find_iter(&self.0)
            .filter_map(|at| format(&self.0[at + FORMAT.len()..]))
            .collect()
    }

    /// Whether its strings name a file handler.
    pub fn names(&self, handler: &[u8]) -> bool {
        self.has(handler)
    }
}

/// The format whose name goes on like this.
fn format(text: &[u8]) -> Option<String> {
    if text.starts_with(b"fdt") {
        return Some("luo-fdt".to_owned());
    }
    let version = text.strip_prefix(b"v")?;
    let digits = version.iter().take_while(|byte| byte.is_ascii_digit());
    let digits: String = digits.copied().map(char::from).collect();
    (!digits.is_empty()).then(|| format!("luo-v{digits}"))
}

/// A kernel's configuration.
pub struct Config(String);

impl Config {
    /// That of the kernel that runs, if it shows it.
    pub fn of_this_kernel() -> Option<Self> {
        Self::gzipped(File::open("/proc/config.gz").ok()?).ok()
    }

    fn gzipped(data: impl Read) -> io::Result<Self> {
        let text = all_of(GzDecoder::new(data))?;
        Ok(Self(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Whether an option is built in.
    pub fn has(&self, option: &str) -> bool {
        let due = format!("CONFIG_{option}=y");
        self.0.lines().any(|line| line == due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{write::GzEncoder, Compression};
    use std::io::Write;

    const KERNEL: &[u8] = b"\x7fELF Linux version %s\0Linux version 7.3.4 (u@h) #1\0\
        luo: Retrieved live update data, liveupdate number: %lld\0luo-v5\0luo-v\0memfd-v2\0";

    fn gzip(data: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(vec![], Compression::fast());
        encoder.write_all(data)?;
        encoder.finish()
    }

    fn check(image: Vec<u8>) {
        let kernel = Kernel::find(image).expect("a kernel");
        assert_eq!(kernel.release().as_deref(), Some("7.3.4"));
        assert!(kernel.has_luo());
        assert!(kernel.formats().into_iter().eq(["luo-v5".to_owned()]));
        assert!(kernel.names(b"memfd-v2") && !kernel.names(b"vfio"));
    }

    #[test]
    fn not_compressed() {
        check(KERNEL.to_vec());
    }

    #[test]
    fn compressed_behind_what_looks_like_it() -> io::Result<()> {
        for kernel in [
            gzip(KERNEL)?,
            ruzstd::encoding::compress_to_vec(KERNEL, ruzstd::encoding::CompressionLevel::Fastest),
        ] {
            let stub = gzip(b"a stub")?;
            check([b"MZ\x1f\x8b\x08no".to_vec(), stub, kernel, b"tail".to_vec()].concat());
        }
        Ok(())
    }

    #[test]
    fn no_kernel() {
        assert!(Kernel::find(b"BZh91AY&SY".to_vec()).is_none());
        assert!(Kernel::find(vec![]).is_none());
    }

    #[test]
    fn configurations() -> io::Result<()> {
        let config = gzip(b"CONFIG_LIVEUPDATE=y\n# CONFIG_KEXEC is not set\nCONFIG_X=m\n")?;
        let image = [KERNEL, CONFIG, &config, b"IKCFG_ED"].concat();
        let config = Kernel::find(image)
            .and_then(|kernel| kernel.config())
            .expect("one");
        assert!(config.has("LIVEUPDATE"));
        assert!(!config.has("KEXEC") && !config.has("X") && !config.has("LIVE"));
        Ok(())
    }
}
