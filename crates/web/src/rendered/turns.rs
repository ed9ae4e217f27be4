//! Whose turn it is: a few places, shared so that nobody can hold them all.
//!
//! A person holds all places but one at most; what is freed goes to the tenants in turn, and in a tenant to its people in
//! turn, each of whom has a line of their own. A line that is full turns away whoever comes next, and nobody else.

use super::pool::WorkError;
use leadglass_model::{ActorRef, TenantId};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Places, and the lines before them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

/// A place: hold it before the frame is read, so that waiting costs no memory. Dropping it gives it on.
#[derive(Debug)]
pub(crate) struct Place {
    turns: Turns,
    whose: Whose,
}

/// Who asks.
pub(crate) type Whose = (TenantId, ActorRef);

#[derive(Debug)]
struct State {
    free: usize,
    /// Places that one person holds at most.
    share: usize,
    held: Vec<Whose>,
    /// The front is the next one's; empty lines are taken out.
    tenants: VecDeque<(TenantId, VecDeque<(ActorRef, Line)>)>,
}

type Line = VecDeque<oneshot::Sender<Place>>;

impl Turns {
    /// `share` places for one person, and one more for others.
    pub(super) fn new(share: usize) -> Self {
        let share = share.max(1);
        Self(Arc::new(Mutex::new(State { free: share + 1, share, held: Vec::new(), tenants: VecDeque::new() })))
    }

    /// Waits for a place.
    ///
    /// Cancel safety: a place that came in the meantime goes to the next one.
    pub(super) async fn place(&self, whose: Whose) -> Result<Place, WorkError> {
        let mine = {
            let mut state = self.0.lock();
            if state.take(whose) {
                return Ok(Place { turns: self.clone(), whose });
            }
            state.wait(whose)?
        };
        match timeout(PATIENCE, mine).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(WorkError::Busy),
        }
    }

    fn give_back(&self, whose: Whose) {
        let mut ready = Vec::new();
        {
            let mut state = self.0.lock();
            state.free += 1;
            if let Some(at) = state.held.iter().position(|held| *held == whose) {
                state.held.swap_remove(at);
            }
            while let Some((whose, sender)) = state.next() {
                ready.push((sender, Place { turns: self.clone(), whose }));
            }
        }
        for (sender, place) in ready {
            // Whoever is gone gives it back at once.
            let _ = sender.send(place);
        }
    }
}

impl Place {
    pub(super) const fn tenant(&self) -> TenantId {
        self.whose.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.give_back(self.whose);
    }
}

impl State {
    /// Takes a place if there is one to be had. Those who wait while one is free hold their share already.
    fn take(&mut self, whose: Whose) -> bool {
        let may = self.free > 0 && self.held.iter().filter(|held| **held == whose).count() < self.share;
        if may {
            self.free -= 1;
            self.held.push(whose);
        }
        may
    }

    fn wait(&mut self, (tenant, actor): Whose) -> Result<oneshot::Receiver<Place>, WorkError> {
        let lines = self.tenants.iter_mut().flat_map(|(_, people)| people.iter_mut().map(|(_, line)| line));
        let waiting: usize = lines
            .map(|line| {
                line.retain(|sender| !sender.is_closed());
                line.len()
            })
            .sum();
        if waiting >= MOST_WAITING {
            return Err(WorkError::Busy);
        }
        let people = entry(&mut self.tenants, tenant);
        let line = entry(people, actor);
        if line.len() >= LONGEST_LINE {
            return Err(WorkError::Busy);
        }
        let (sender, mine) = oneshot::channel();
        line.push_back(sender);
        Ok(mine)
    }

    /// The next one whose turn it is, who has the place already.
    fn next(&mut self) -> Option<(Whose, oneshot::Sender<Place>)> {
        for _ in 0..self.tenants.len() {
            let (tenant, mut people) = self.tenants.pop_front()?;
            let mut found = None;
            for _ in 0..people.len() {
                let Some((actor, mut line)) = people.pop_front() else { break };
                line.retain(|sender| !sender.is_closed());
                if found.is_none() && !line.is_empty() && self.take((tenant, actor)) {
                    found = line.pop_front().map(|sender| ((tenant, actor), sender));
                }
                if !line.is_empty() {
                    people.push_back((actor, line));
                }
                if found.is_some() {
                    break;
                }
            }
            if !people.is_empty() {
                self.tenants.push_back((tenant, people));
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// The value of `key`; a new one goes to the end.
fn entry<K: PartialEq, V: Default>(list: &mut VecDeque<(K, V)>, key: K) -> &mut V {
    let at = list.iter().position(|(known, _)| *known == key).unwrap_or(list.len());
    if at == list.len() {
        list.push_back((key, V::default()));
    }
    let (_, value) = list.get_mut(at).expect("it was found or just put there");
    value
}

/// How long somebody waits for a place before being told to come again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests of one person that wait: a viewer asks for the thumbnails of a study at once.
const LONGEST_LINE: usize = 64;
/// Requests of all that wait.
const MOST_WAITING: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    fn who(tenant: u8, actor: u8) -> Whose {
        (TenantId::from_bytes([tenant; 16]), ActorRef([actor; 16]))
    }

    #[tokio::test]
    async fn one_person_never_holds_the_last_place() {
        let turns = Turns::new(2);
        let (a, b) = (who(1, 1), who(1, 2));
        let _held = [turns.place(a).await.unwrap(), turns.place(a).await.unwrap()];
        assert!(turns.place(a).now_or_never().is_none(), "a third of the same person waits");
        assert!(turns.place(b).now_or_never().is_some_and(|place| place.is_ok()), "another one does not");
    }

    #[tokio::test]
    async fn what_is_freed_goes_round_tenants_and_people() {
        let turns = Turns::new(1);
        let held = [turns.place(who(9, 1)).await.unwrap(), turns.place(who(9, 2)).await.unwrap()];
        let order = [who(1, 1), who(1, 1), who(1, 1), who(1, 2), who(2, 1)];
        let (said, mut heard) = tokio::sync::mpsc::channel(8);
        let mut waiting: Vec<_> = order
            .into_iter()
            .map(|whose| {
                let (turns, said) = (turns.clone(), said.clone());
                async move {
                    let place = turns.place(whose).await.unwrap();
                    said.send(whose).await.unwrap();
                    drop(place);
                }
                .boxed()
            })
            .collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        let [first, second] = held;
        drop(first);
        futures::future::join_all(waiting).await;
        drop((second, said));
        let mut turns_taken = Vec::new();
        while let Some(whose) = heard.recv().await {
            turns_taken.push(whose);
        }
        assert_eq!(turns_taken, [who(1, 1), who(2, 1), who(1, 2), who(1, 1), who(1, 1)]);
    }

    #[tokio::test]
    async fn a_full_line_turns_its_own_away_and_nobody_else() {
        let turns = Turns::new(1);
        let (a, b) = (who(1, 1), who(1, 2));
        let _held = turns.place(a).await.unwrap();
        let mut line: Vec<_> = (0..LONGEST_LINE).map(|_| turns.place(a).boxed()).collect();
        for one in &mut line {
            assert!(one.now_or_never().is_none());
        }
        assert_eq!(turns.place(a).now_or_never().unwrap().map(|_| ()), Err(WorkError::Busy));
        assert!(turns.place(b).now_or_never().is_some_and(|place| place.is_ok()));
        line.pop();
        assert!(turns.place(a).now_or_never().is_none(), "whoever left the line made room in it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_place_is_told_to_come_again() {
        let turns = Turns::new(1);
        let held = turns.place(who(1, 1)).await.unwrap();
        assert_eq!(turns.place(who(1, 1)).await.map(|_| ()), Err(WorkError::Busy));
        drop(held);
        assert!(turns.place(who(1, 1)).now_or_never().is_some_and(|place| place.is_ok()), "no place was lost");
    }
}
