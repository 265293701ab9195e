import { useJob } from 'milepost/solid';

export default function Job(props) {
  const job = useJob(() => props.id, { maxRate: 20 });
  return (
    <label>
      {job().state?.stage ?? 'Waiting'} {job().connection === 'open' ? '' : job().connection}
      <progress attr:value={job().state?.progress ?? undefined} />
    </label>
  );
}
