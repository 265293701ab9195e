//! Misspelt variables of the environment.

/// The variables that clients and commands read.
const VARIABLES: [&str; 11] = [
    "MILEPOST_URL",
    "MILEPOST_TOKEN",
    "MILEPOST_JOB",
    "MILEPOST_ATTEMPT",
    "MILEPOST_PARENT",
    "MILEPOST_RUN",
    "MILEPOST_AUTO",
    "MILEPOST_KEYS_FILE",
    "MILEPOST_TOKEN_SECRET",
    "MILEPOST_TOKEN_ISSUER",
    "MILEPOST_TOKEN_AUDIENCE",
];

/// The Milepost variable that a name was probably meant to be: it differs by case, or by one letter that was
/// added, dropped, replaced or swapped with its neighbour. `None` if it is right, or unrelated.
pub fn misspelt_variable(name: &str) -> Option<&'static str> {
    if VARIABLES.contains(&name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    VARIABLES.into_iter().find(|variable| is_one_edit_away(upper.as_bytes(), variable.as_bytes()))
}

/// The misspelt variables of this process, each with the intended one.
pub(crate) fn misspelt() -> impl Iterator<Item = (String, &'static str)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| misspelt_variable(&name).map(|meant| (name, meant)))
}

fn is_one_edit_away(a: &[u8], b: &[u8]) -> bool {
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[start..], &b[start..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - end], &b[..b.len() - end]) {
        ([first, second], [third, fourth]) => first == fourth && second == third,
        (a, b) => a.len().max(b.len()) <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_letter_is_noticed() {
        for (name, meant) in [
            ("MILEPOST_ULR", "MILEPOST_URL"),
            ("MILEPOST_URI", "MILEPOST_URL"),
            ("MILEPOST_URLS", "MILEPOST_URL"),
            ("MILPOST_URL", "MILEPOST_URL"),
            ("MILEPOSTURL", "MILEPOST_URL"),
            ("milepost_token", "MILEPOST_TOKEN"),
            ("MILEPOST_ATEMPT", "MILEPOST_ATTEMPT"),
            ("MILEPOST_KEY_FILE", "MILEPOST_KEYS_FILE"),
        ] {
            assert_eq!(misspelt_variable(name), Some(meant), "{name}");
        }
    }

    #[test]
    fn other_variables_are_left_alone() {
        let others = [
            "",
            "URL",
            "MY_URL",
            "MILEPOST",
            "MILEPOST_KEY",
            "MILEPOST_TTL",
            "MILEPOST_LOG",
            "MILEPOST_HOST",
            "MILEPOST_HOSTS",
            "MILEPOST_PORT",
            "MILEPOST_CONFIG",
            "MILEPOST_REDIS_URL",
            "MILEPOST_TOKEN_KEYS",
            "MILEPOST_PORT_8084_TCP",
            "MILEPOST_ÜRL",
        ];
        for name in others.into_iter().chain(VARIABLES) {
            assert_eq!(misspelt_variable(name), None, "{name}");
        }
    }
}
