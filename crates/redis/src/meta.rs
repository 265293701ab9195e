//! A job's meta: what `report.lua` keeps of a job beside its states, in the field `meta` of the job's hash.

/// The values of a job's meta, in the order in which `report.lua` packs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Layout,
    Expires,
    Server,
    Secret,
    Epoch,
    Number,
    Attempt,
    Status,
    Ttl,
    Stage,
    Progress,
    Ring,
    Written,
    Oldest,
    Bytes,
    Begun,
    Indexed,
    Taken,
    StartedAt,
    ProgressedAt,
    Current,
    Attributes,
    Day,
    Date,
    Seen,
    Progressed,
    Health,
    Clocked,
    Requested,
    SampleAt,
    Children,
    Last,
    Pace,
    Usual,
    PausedMs,
    PausedAt,
}

impl Field {
    const ALL: [Self; 36] = [
        Self::Layout,
        Self::Expires,
        Self::Server,
        Self::Secret,
        Self::Epoch,
        Self::Number,
        Self::Attempt,
        Self::Status,
        Self::Ttl,
        Self::Stage,
        Self::Progress,
        Self::Ring,
        Self::Written,
        Self::Oldest,
        Self::Bytes,
        Self::Begun,
        Self::Indexed,
        Self::Taken,
        Self::StartedAt,
        Self::ProgressedAt,
        Self::Current,
        Self::Attributes,
        Self::Day,
        Self::Date,
        Self::Seen,
        Self::Progressed,
        Self::Health,
        Self::Clocked,
        Self::Requested,
        Self::SampleAt,
        Self::Children,
        Self::Last,
        Self::Pace,
        Self::Usual,
        Self::PausedMs,
        Self::PausedAt,
    ];
}

/// How many values there are.
const FIELDS: usize = Field::ALL.len();

/// A job's meta: each value as `MessagePack`, as it was stored. Only what is asked for is decoded, and only what is replaced is
/// encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta<'a>([&'a [u8]; FIELDS]);

/// A new value of a field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Nil,
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// A text, or nil.
    pub(crate) fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Nil, |text| Self::Bytes(text.as_bytes()))
    }
}

impl<'a> Meta<'a> {
    /// None if it is of another version, which has other fields.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut values: [&[u8]; FIELDS] = [&[]; FIELDS];
        for value in &mut values {
            let length = length_of(bytes)?;
            (*value, bytes) = bytes.split_at_checked(length)?;
        }
        bytes.is_empty().then_some(Self(values))
    }

    pub(crate) fn is_nil(&self, field: Field) -> bool {
        self.0[field as usize] == [NIL]
    }

    /// The value, if it is a natural number.
    pub(crate) fn number(&self, field: Field) -> Option<u64> {
        let (first, rest) = self.0[field as usize].split_first()?;
        match (first, rest.len()) {
            (0..=0x7f, 0) => Some(u64::from(*first)),
            // Integers are big-endian; Lua also stores natural numbers as signed ones.
            (0xcc..=0xcf, 1..=8) => Some(big_endian(rest)),
            (0xd0..=0xd3, 1..=8) if rest[0] < 0x80 => Some(big_endian(rest)),
            _ => None,
        }
    }

    /// The value, if it is a string.
    pub(crate) fn bytes(&self, field: Field) -> Option<&'a [u8]> {
        let value = self.0[field as usize];
        let header = match value.first()? {
            0xa0..=0xbf => 1,
            0xd9 => 2,
            0xda => 3,
            0xdb => 5,
            _ => return None,
        };
        value.get(header..)
    }

    /// The value, if it is a text.
    pub(crate) fn text(&self, field: Field) -> Option<&'a str> {
        std::str::from_utf8(self.bytes(field)?).ok()
    }

    /// The meta with other values in these fields.
    pub(crate) fn with(&self, changes: &[(Field, Value<'_>)]) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(self.0.iter().map(|value| value.len()).sum::<usize>() + 64);
        for (index, value) in self.0.iter().enumerate() {
            match changes.iter().find(|(field, _)| *field as usize == index) {
                None => bytes.extend_from_slice(value),
                Some((_, Value::Nil)) => bytes.push(NIL),
                Some((_, Value::Number(number))) => push_number(&mut bytes, *number),
                Some((_, Value::Bytes(value))) => push_bytes(&mut bytes, value),
            }
        }
        bytes
    }
}

/// `nil` as `MessagePack`.
pub(crate) const NIL: u8 = 0xc0;

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// How many bytes the first value has; none if it is one that Lua does not pack from numbers, strings and booleans.
fn length_of(bytes: &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first()?;
    let after = |size: usize| {
        rest.get(..size)
            .map(|length| 1 + size + usize::try_from(big_endian(length)).unwrap_or(usize::MAX / 2))
    };
    match *first {
        0..=0x7f | 0xe0..=0xff | NIL | 0xc2 | 0xc3 => Some(1),
        0xa0..=0xbf => Some(1 + usize::from(first & 0x1f)),
        0xca => Some(5),
        0xcb => Some(9),
        0xcc..=0xcf => Some(1 + (1 << (first - 0xcc))),
        0xd0..=0xd3 => Some(1 + (1 << (first - 0xd0))),
        0xd9 => after(1),
        0xda => after(2),
        0xdb => after(4),
        _ => None,
    }
}

/// Appends a string as `MessagePack`.
pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 32 => out.push(0xa0 | length),
        (_, Ok(length)) => {
            out.push(0xda);
            out.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(0xdb);
            // An update is far smaller than 4 GiB.
            out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    out.extend(bytes);
}

/// Appends a natural number as `MessagePack`.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    match (u8::try_from(number), u32::try_from(number)) {
        (Ok(number), _) if number < 128 => out.push(number),
        (_, Ok(number)) => {
            out.push(0xce);
            out.extend(number.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(0xcf);
            out.extend(number.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(values: &[Value<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in values {
            match value {
                Value::Nil => bytes.push(NIL),
                Value::Number(number) => push_number(&mut bytes, *number),
                Value::Bytes(value) => push_bytes(&mut bytes, value),
            }
        }
        bytes
    }

    #[test]
    fn fields_come_as_the_script_packs_them() {
        let script = include_str!("scripts/report.lua");
        let (_, packed) = script.split_once("meta = cmsgpack.pack(").unwrap();
        let (packed, _) = packed.split_once(')').unwrap();
        let packed: Vec<_> = packed
            .split([',', ' ', '\n'])
            .filter(|name| !name.is_empty())
            .map(|name| name.replace('_', "").to_lowercase())
            .collect();
        let names = Field::ALL.map(|field| format!("{field:?}").to_lowercase());
        assert_eq!(names.to_vec(), packed);
        assert!(Field::ALL.iter().enumerate().all(|(index, field)| *field as usize == index));
    }

    #[test]
    fn values_are_read_and_the_others_stay_as_they_are() {
        let mut values = vec![Value::Nil; FIELDS];
        let long = vec![b'x'; 70_000];
        for (field, value) in [
            (Field::Layout, Value::Number(1)),
            (Field::Expires, Value::Number(1_700_000_000_123)),
            (Field::Epoch, Value::Bytes(b"1f")),
            (Field::Attributes, Value::Bytes(&long)),
        ] {
            values[field as usize] = value;
        }
        let bytes = packed(&values);
        let meta = Meta::parse(&bytes).unwrap();
        assert_eq!(meta.number(Field::Layout), Some(1));
        assert_eq!(meta.number(Field::Expires), Some(1_700_000_000_123));
        assert_eq!(meta.text(Field::Epoch), Some("1f"));
        assert_eq!(meta.bytes(Field::Attributes), Some(&*long));
        assert!(meta.is_nil(Field::Usual) && !meta.is_nil(Field::Layout));
        assert_eq!((meta.number(Field::Usual), meta.text(Field::Layout)), (None, None));

        let changed =
            meta.with(&[(Field::Expires, Value::Nil), (Field::Written, Value::Number(300))]);
        values[Field::Expires as usize] = Value::Nil;
        values[Field::Written as usize] = Value::Number(300);
        assert_eq!(changed, packed(&values));
    }

    #[test]
    fn numbers_as_lua_packs_them_are_read() {
        let mut values = packed(&[Value::Nil; FIELDS]);
        for (bytes, number) in [
            (&[0xcc, 200][..], Some(200)),
            (&[0xcd, 1, 0], Some(256)),
            (&[0xd1, 0x7f, 0xff], Some(32_767)),
            (&[0xd0, 0xff], None),
            (&[0xff], None),
            (&[0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0], None),
        ] {
            values.splice(..1, bytes.iter().copied());
            let meta = Meta::parse(&values).unwrap();
            assert_eq!(meta.number(Field::Layout), number, "{bytes:x?}");
            values.splice(..bytes.len(), [NIL]);
        }
    }

    #[test]
    fn what_is_no_meta_is_none() {
        let nils = packed(&[Value::Nil; FIELDS]);
        assert!(Meta::parse(&nils).is_some());
        assert!(Meta::parse(&nils[1..]).is_none(), "one too few");
        assert!(Meta::parse(&[&nils[..], &[NIL]].concat()).is_none(), "one too many");
        for bytes in [&[][..], &[0xdb, 0xff, 0xff, 0xff, 0xff], &[0x90], &[0xa5, b'x']] {
            assert!(Meta::parse(bytes).is_none(), "{bytes:x?}");
        }
    }
}
